"""The self-predictive RL binary as a user runs it: in a process of its own."""

import json
import pathlib
import re
import shutil

import pytest

from jaxseq.training import scalars
from tests.experiments import programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = "tests/spr/tiny_config.py"
STEPS = 70


def run(workdir, *flags, config=TINY):
  return programs.start("spr", config, workdir, *flags)


def rows(workdir, arm="spr"):
  return [
    {
      key: repr(value)
      for key, value in row.items()
      if key not in scalars.WALL_CLOCK_FIELDS
    }
    for row in scalars.read(workdir / arm)
  ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A whole run: its directory and what it printed."""
  workdir = tmp_path_factory.mktemp("spr") / "run"
  result = run(workdir)
  assert result.returncode == 0, result.stderr
  return workdir, result.stdout


@pytest.mark.slow
def test_a_run_leaves_what_it_promises(whole):
  workdir, output = whole
  results = json.loads((workdir / "results.json").read_text())
  assert len(results["spr"]["games"][0]) == 4
  picture = (workdir / "learning_curve.png").read_bytes()
  assert picture.startswith(b"\x89PNG")
  assert (workdir / "spr" / "game.gif").read_bytes().startswith(b"GIF89a")
  assert list((workdir / "spr").rglob("events.out.tfevents.*"))
  assert [int(row["step"]) for row in rows(workdir)] == [
    *range(10, STEPS + 1, 10)
  ]
  # Updates begin after 40 steps.
  assert [row["loss"] == "[nan]" for row in rows(workdir)] == [True] * 4 + [
    False
  ] * 3
  assert re.search(r"spr +[\d,]+ +-?\d+\.\d+ +-?\d+\.\d+", output)


@pytest.mark.slow
def test_a_run_goes_on_to_the_same_numbers(whole, tmp_path):
  workdir, _ = whole
  other = tmp_path / "run"
  shutil.copytree(workdir, other)
  # As if it had been killed between the checkpoints of steps 60 and 70.
  (other / "results.json").unlink()
  shutil.rmtree(other / "spr" / "checkpoints" / str(STEPS))
  assert (other / "spr" / "checkpoints" / "60").is_dir()
  result = run(other)
  assert result.returncode == 0, result.stderr
  assert "resumes after step 60 of 70" in result.stderr
  assert rows(other) == rows(workdir)
  found, expected = (
    json.loads((place / "results.json").read_text())["spr"]
    for place in (other, workdir)
  )
  assert found == expected
  assert (other / found["gif"]).is_file()


@pytest.mark.slow
def test_agents_with_mixers_go_on_to_the_same_numbers(tmp_path):
  config = "tests/spr/tiny_memory_config.py"
  whole, other = tmp_path / "whole", tmp_path / "other"
  result = run(whole, config=config)
  assert result.returncode == 0, result.stderr
  shutil.copytree(whole, other)
  (other / "results.json").unlink()
  arms = ("memory", "mixer_transition")
  for arm in arms:
    assert rows(whole, arm)[-1]["loss"] != "[nan]"
    shutil.rmtree(other / arm / "checkpoints" / str(STEPS))
  result = run(other, config=config)
  assert result.returncode == 0, result.stderr
  assert result.stderr.count("resumes after step 60 of 70") == len(arms)
  for arm in arms:
    assert rows(other, arm) == rows(whole, arm)
  result = run(other, "--mode=evaluate", config=config)
  assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_evaluation_plays_the_policy(whole):
  workdir, _ = whole
  (workdir / "spr" / "game.gif").unlink()
  result = run(workdir, "--mode=evaluate")
  assert result.returncode == 0, result.stderr
  expected = json.loads((workdir / "results.json").read_text())
  best = max(expected["spr"]["games"][0])
  assert re.search(rf"spr +0 +{STEPS} .* {best:g} ", result.stdout)
  assert (workdir / "spr" / "game.gif").exists()


@pytest.mark.slow
def test_wrong_input_gets_one_sentence(tmp_path):
  result = run(tmp_path / "absent", "--config.settings.env_id=Pong-MinAtar")
  assert result.returncode == 2
  assert "Traceback" not in result.stderr
  assert "did you mean" in result.stderr
  assert not (tmp_path / "absent").exists()
