"""The README's first command does what the README says."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_s5_solves_the_task(tmp_path):
  workdir = tmp_path / "run"
  subprocess.run(
    [
      sys.executable,
      "-m",
      "experiments.icrl",
      "--config=configs/icrl/quickstart.py",
      f"--workdir={workdir}",
    ],
    cwd=ROOT,
    check=True,
    timeout=880,
  )
  result = json.loads((workdir / "results.json").read_text())["s5"]
  # Runs with other settings of the machine reached 0.98 and more.
  assert min(result["training"] + result["evaluation"]) >= 0.95
