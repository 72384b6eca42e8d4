"""A suite of environments: tables, pictures, and going on where it stopped."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from configs.icrl_suite import memory_chain
from jaxseq.programs import icrl_suite
from jaxseq.rl import rl_arms
from jaxseq.rl.agents import ppo
from jaxseq.training import configuration
from jaxseq.training import errors
from tests.experiments import programs

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def run(monkeypatch, capsys):
  """Runs the suite in this process; returns what it printed."""

  def call(workdir, *more):
    config = "tests/experiments/suite_none.py"
    programs.call(monkeypatch, "icrl_suite", config, workdir, *more)
    return capsys.readouterr().out

  return call


@pytest.mark.slow
def test_a_suite_its_continuation_and_its_evaluation(run, tmp_path):
  whole = tmp_path / "whole"
  output = run(whole)
  assert "MultiarmedBanditEasy (1 of 2)" in output
  assert "optimality gap" in output
  for game in ("MultiarmedBanditEasy", "RepeatFirstEasy"):
    film = whole / game / "episode_none.gif"
    assert film.read_bytes().startswith(b"GIF"), game
  assert "MMER" in output
  assert "steps per second" in output
  for picture in ("learning_curves.png", "aggregates.png"):
    assert (whole / picture).read_bytes().startswith(b"\x89PNG"), picture
  results = json.loads((whole / "results.json").read_text())
  environments = results["environments"]
  assert set(environments) == {"MultiarmedBanditEasy", "RepeatFirstEasy"}
  for of_arms in environments.values():
    assert set(of_arms) == {"none"}
    for found in of_arms.values():
      for kind in ("best", "overall", "evaluation"):
        assert np.isfinite(found[kind]).all(), kind
      assert found["best"][0] >= found["overall"][0]
      # "NaN" where no episode ended in the last twentieth.
      assert not found["best"][0] < float(found["training"][0])
  # One seed each: scores from the bounds of the games.
  bandit, first = (
    environments[name]["none"]["evaluation"][0]
    for name in ("MultiarmedBanditEasy", "RepeatFirstEasy")
  )
  expected = (bandit / 0.66 + (first + 0.5) / 1.5) / 2
  np.testing.assert_allclose(
    results["aggregates"]["mean"]["none"][0], expected, rtol=1e-9
  )

  # As if the suite had been stopped between the two environments.
  part = tmp_path / "part"
  shutil.copytree(whole, part)
  shutil.rmtree(part / "RepeatFirstEasy")
  (part / "results.json").unlink()
  output = run(part)
  assert "MultiarmedBanditEasy (1 of 2)" not in output
  assert json.loads((part / "results.json").read_text()) == results

  shown = run(whole, "--mode=evaluate")
  assert f"{bandit:.3f}" in shown


@pytest.mark.parametrize("variant", ["full", "between", "sweep", "tiny"])
def test_the_lengths_of_the_memory_chain(variant):
  config = configuration.from_config_dict(
    icrl_suite.Config, memory_chain.get_config(variant)
  )
  lengths = [int(name.removeprefix("memory_")) for name in config.environments]
  assert (
    len(lengths) == {"full": 3, "between": 2, "sweep": 23, "tiny": 2}[variant]
  )
  for length, name in zip(lengths, config.environments):
    local = icrl_suite.on(config, name)
    for name in config.arms:
      arm = rl_arms.agent_config(local, name)
      assert ppo.player(arm).env_params.memory_length == length
      if variant != "tiny":
        assert arm.total_steps == 10_000 * (length + 1)


@pytest.mark.parametrize(
  ("override", "message"),
  [
    ("agent.num_minibatches=3", "num_minibatches: got 3"),
    ("environments.RepeatFirstEasy.gama=1", "gama.*did you mean 'gamma'"),
    ("bounds.RepeatFirstEasy=(1.0,0.0)", "expected a lower and a higher"),
    ("films=('lstm',)", "films: got 'lstm', expected one of 'none'"),
  ],
)
def test_wrong_input_gets_one_sentence(run, tmp_path, override, message):
  with pytest.raises(errors.UserError, match=message):
    run(tmp_path / "absent", f"--config.{override}")
  assert not (tmp_path / "absent").exists()
