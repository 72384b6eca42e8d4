"""The in-context RL binary, in processes of its own where that matters."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from jaxseq.training import errors
from jaxseq.training import scalars
from tests.experiments import programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRU_ONLY = "tests/experiments/gru_only.py"
# What differs between two runs with the same numbers.
CLOCK = scalars.WALL_CLOCK_FIELDS


def run(config, workdir, *flags):
  return programs.start("icrl", config, workdir, *flags)


def rows(workdir, arm="gru"):
  return [
    {key: value for key, value in row.items() if key not in CLOCK}
    for row in scalars.read(workdir / arm)
  ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
  """A whole run: its directory and what it printed."""
  workdir = tmp_path_factory.mktemp("icrl") / "run"
  result = run(GRU_ONLY, workdir)
  assert result.returncode == 0, result.stderr
  return workdir, result.stdout


def test_a_run_leaves_what_it_promises(tmp_path, monkeypatch, capsys):
  workdir, steps = tmp_path / "run", "--config.agent.total_steps=1024"
  programs.call(monkeypatch, "icrl", GRU_ONLY, workdir, steps)
  output = capsys.readouterr().out
  for name in ("config.json", "versions.json", "results.json"):
    json.loads((workdir / name).read_text())
  picture = (workdir / "learning_curve.png").read_bytes()
  assert picture.startswith(b"\x89PNG")
  assert (workdir / "episode_gru.gif").read_bytes().startswith(b"GIF89a")
  assert [row["step"] for row in rows(workdir)] == [
    256 * (i + 1) for i in range(4)
  ]
  assert list((workdir / "gru").rglob("events.out.tfevents.*"))
  assert re.search(r"gru +[\d,]+ +-?\d\.\d+ ± \d\.\d+", output)
  assert "--mode=evaluate" in output


@pytest.mark.slow
def test_evaluation_shows_an_episode(uninterrupted):
  workdir, _ = uninterrupted
  written = (workdir / "episode_gru.gif").stat().st_mtime_ns
  result = run(GRU_ONLY, workdir, "--mode=evaluate")
  assert result.returncode == 0, result.stderr
  # The deck has 52 cards; the last action is the 51st.
  assert re.search(r"^ +50 +\d +\d +\d +[+-]0\.021", result.stdout, re.M)
  assert "mean return" in result.stdout
  assert (workdir / "episode_gru.gif").stat().st_mtime_ns > written


@pytest.mark.slow
def test_returns_of_trials(tmp_path):
  workdir = tmp_path / "run"
  result = run("tests/experiments/trials_gru.py", workdir)
  assert result.returncode == 0, result.stderr
  assert (workdir / "trials.png").read_bytes().startswith(b"\x89PNG")
  results = json.loads((workdir / "results.json").read_text())
  gru = results["gru"]
  for found, num_trials in (gru, 2), (gru["evaluations"]["three trials"], 3):
    [means] = found["trials"]
    assert len(means) == num_trials
    for trial, mean in enumerate(means):
      row = rf"^{trial + 1} +{mean:.3f}$"
      assert re.search(row, result.stdout, re.M), result.stdout
  [further] = gru["evaluations"]["three trials"]["evaluation"]
  assert re.search(rf"^three trials +{further:.3f}$", result.stdout, re.M)


@pytest.mark.slow
def test_a_run_in_which_no_episode_ends(tmp_path):
  flags = [
    "--config.agent.env_id=RepeatPreviousHard",
    "--config.agent.rollout_length=8",
    "--config.agent.total_steps=64",
  ]
  result = run(GRU_ONLY, tmp_path / "run", *flags)
  assert result.returncode == 0, result.stderr
  assert "Traceback" not in result.stderr
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  assert results["gru"]["training"] == ["NaN", "NaN"]
  assert all(abs(mean) <= 1 for mean in results["gru"]["evaluation"])


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_ends_with_the_same_numbers(
  uninterrupted, tmp_path, how
):
  whole, _ = uninterrupted
  workdir = tmp_path / "run"
  process = subprocess.Popen(
    programs.command("icrl", GRU_ONLY, workdir),
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  checkpoints = workdir / "gru" / "checkpoints"
  deadline = time.monotonic() + 90
  # The digits exclude checkpoints that are still being written.
  while not any(p.name.isdigit() for p in checkpoints.glob("*")):
    assert process.poll() is None, "the run ended before its first checkpoint"
    assert time.monotonic() < deadline
    time.sleep(0.01)
  os.kill(process.pid, how)
  code = process.wait(timeout=60)
  assert code == (0 if how == signal.SIGTERM else -signal.SIGKILL)
  assert not (workdir / "results.json").exists()
  result = run(GRU_ONLY, workdir)
  assert result.returncode == 0, result.stderr
  assert rows(workdir) == rows(whole)
  assert (workdir / "results.json").read_text() == (
    whole / "results.json"
  ).read_text()


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--config.agent.learnin_rate=1e-3"], "learnin_rate.*learning_rate"),
    pytest.param(
      ["--config.agent.num_minibatches=3"],
      "num_minibatches: got 3, expected",
      marks=pytest.mark.slow,
    ),
    pytest.param(["--mode=evaluate"], "absent", marks=pytest.mark.slow),
  ],
)
def test_wrong_input_gets_one_sentence(tmp_path, flags, message):
  result = run(GRU_ONLY, tmp_path / "absent", *flags)
  assert result.returncode == 2
  assert "Traceback" not in result.stderr
  assert re.search(message, result.stderr), result.stderr
  assert not (tmp_path / "absent" / "gru").exists()


def test_an_unknown_environment_is_named(tmp_path, monkeypatch):
  flag = "--config.agent.env_id=NoSuchEnv"
  with pytest.raises(errors.UserError, match="NoSuchEnv"):
    programs.call(monkeypatch, "icrl", GRU_ONLY, tmp_path / "absent", flag)
  assert not (tmp_path / "absent" / "gru").exists()


def test_the_workdir_of_something_else_is_refused(tmp_path):
  (tmp_path / "thesis.tex").write_text("precious")
  result = run(GRU_ONLY, tmp_path)
  assert result.returncode == 2
  assert "Traceback" not in result.stderr
  assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
