"""scripts/accelerator.sh, with a stand-in for the driver's tool and for pip."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

_PYTHON = """#!/bin/sh
case $1 in
  -c) case $2 in *jax*) echo 0.11.2 ;; *) echo 3.13 ;; esac ;;
  -m) echo "$*" >>"{log}" ;;
esac
"""
_SMI = """#!/bin/sh
echo '| NVIDIA-SMI 570.86   Driver Version: 570.86   CUDA Version: {version} |'
"""


def _executable(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)
  path.chmod(0o755)


def _installed(tmp_path, runs=1):
  """What the script has pip install, and what it says."""
  log = tmp_path / "pip.log"
  _executable(tmp_path / "venv/bin/python", _PYTHON.format(log=log))
  for _ in range(runs):
    result = subprocess.run(
      ["sh", ROOT / "scripts/accelerator.sh", tmp_path / "venv"],
      env={
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
        "ACCEL_DEVICES": str(tmp_path / "dev"),
      },
      capture_output=True,
      text=True,
      timeout=60,
      check=True,
    )
  lines = log.read_text().splitlines() if log.exists() else []
  return lines, result.stdout + result.stderr


@pytest.mark.parametrize(
  ("version", "extra"), [("12.8", "cuda12"), ("13.0", "cuda13")]
)
def test_takes_the_wheels_of_the_drivers_cuda(tmp_path, version, extra):
  _executable(tmp_path / "bin/nvidia-smi", _SMI.format(version=version))
  (line,), _ = _installed(tmp_path, runs=2)
  assert line.endswith(
    f"--constraint constraints/3.13.txt jax[{extra}]==0.11.2"
  )


def test_an_old_driver_is_named(tmp_path):
  _executable(tmp_path / "bin/nvidia-smi", _SMI.format(version="11.4"))
  lines, said = _installed(tmp_path)
  assert not lines
  assert "got '11'" in said


def test_a_tpu_is_found_by_its_device(tmp_path):
  _executable(tmp_path / "dev/accel0", "")
  (line,), _ = _installed(tmp_path)
  assert line.endswith("jax[tpu]==0.11.2")


def test_a_cpu_alone_needs_nothing(tmp_path):
  lines, said = _installed(tmp_path)
  assert not lines
  assert "Neither a GPU nor a TPU" in said
