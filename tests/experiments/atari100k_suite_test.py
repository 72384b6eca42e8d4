"""The suite of Atari: configs, tables, and going on where it stopped."""

import importlib
import json
import pathlib
import shutil

import numpy as np
import pytest

from configs.atari100k_suite import atari100k
from experiments.atari100k_suite import program as atari100k_suite
from experiments.atari100k_suite import published
from jaxseq.rl import envs
from jaxseq.rl.envs import atari
from jaxseq.spr import spr_arms
from jaxseq.spr import variants
from jaxseq.training import configuration
from jaxseq.training.comparison import suite as comparison

pytestmark = pytest.mark.usefixtures("atari_stand_in")
_CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs" / "spr"


class Host:
  """Stands for an emulator: every third action is a point, games are short."""

  num_actions, num_bytes = 6, 8

  def _seen(self, state):
    frame = np.full((84, 84, 1), state.time % 256, np.uint8)
    return frame, state

  def reset(self, noops):
    memory = np.full(8, noops, np.uint8)
    return self._seen(atari.EnvState(np.int32(0), np.int32(3), memory))

  def step(self, state, action, noops, limit):
    time = np.int32(state.time + 1)
    over = np.bool_(time >= 7)
    frame, after = self._seen(state.replace(time=time))
    first, fresh = self.reset(noops) if over else (frame, after)
    reward = np.float32(action % 3 == 1)
    no = np.bool_(False)
    return first, frame, reward, no, over, no, fresh


@pytest.fixture
def playable(atari_stand_in, monkeypatch):
  monkeypatch.setattr(atari, "_hosted", lambda *_: Host())


def suite(variant, **changes):
  return configuration.updated(atari100k.get_config(variant), **changes)


@pytest.mark.parametrize("agent", variants.names())
def test_every_agent_plays_all_games(agent):
  config = suite(agent)
  assert config.num_seeds == 5
  runs = atari100k_suite.make_runs(config)
  assert tuple(runs) == published.GAMES
  expected = variants.get(agent, 6).updates_per_step
  for game, (_, arms) in runs.items():
    assert set(arms) == {agent}
    arm = arms[agent]
    assert arm.settings.env_id == arm.game.name == envs.atari_id(game)
    assert arm.agent.variant.updates_per_step == expected
    assert arm.agent.num_steps == 100_000


def test_the_tiny_suite_has_one_game():
  assert set(atari100k_suite.make_runs(suite("tiny"))) == {"pong"}


def test_atari_can_be_played_as_the_released_code_plays_it():
  arms = {"spr": {"env_options": {"rules": "released"}}}
  _, made = atari100k_suite.make_runs(suite("spr", arms=arms))["pong"]
  assert made["spr"].game.env.rules == "released"


def test_arms_of_other_agents_are_as_published():
  arms = {
    "spr": {},
    "drq": {"variant": "drq"},
    "bbf_8": {"variant": "bbf", "agent": {"updates_per_step": 8}},
  }
  _, made = atari100k_suite.make_runs(suite("spr", arms=arms))["pong"]
  found = {name: arm.agent.variant for name, arm in made.items()}
  assert found["spr"] == variants.get("spr", 6)
  assert found["drq"] == variants.get("drq", 6)
  assert found["bbf_8"].updates_per_step == 8


def _played(**evaluations):
  return {
    name: {"evaluation": list(values)} for name, values in evaluations.items()
  }


@pytest.mark.slow
def test_agents_of_a_suite_are_compared(tmp_path, monkeypatch, capsys):
  config = suite("tiny", arms={"spr": {}, "drq": {"variant": "drq"}})
  results = {
    "boxing": _played(spr=[3.0, 9.0], drq=[1.0, 2.0]),
    "pong": _played(spr=[-20.0, -5.0], drq=[-21.0, 0.0]),
  }
  monkeypatch.setattr(atari100k_suite, "_curves", lambda *_: None)
  atari100k_suite.finish(config, tmp_path, results, "train")
  written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
  found = written["improvements"]
  # All pairs of runs of boxing, two of four of pong.
  assert found["spr"]["drq"][0] == 0.75
  assert found["drq"]["spr"][0] == 0.25
  assert set(written["aggregates"]) == {"spr", "drq"}
  shown = capsys.readouterr().out
  assert "Probability that a run of the row's agent beats" in shown
  text = (tmp_path / "summary" / "improvement.txt").read_text(encoding="utf-8")
  assert "drq    -" in text
  assert "0.750 [" in text
  atari100k_suite.finish(config, tmp_path, results, "evaluate")
  assert (tmp_path / "evaluation" / "improvement.png").is_file()


def test_one_agent_is_compared_with_none(tmp_path, monkeypatch):
  results = {game: _played(spr=[0.0, 1.0]) for game in ("boxing", "pong")}
  monkeypatch.setattr(atari100k_suite, "_curves", lambda *_: None)
  atari100k_suite.finish(suite("tiny"), tmp_path, results, "train")
  written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
  assert "improvements" not in written
  assert not list(tmp_path.rglob("improvement*"))


def test_an_agent_that_failed_has_no_aggregates(tmp_path, monkeypatch, capsys):
  config = suite("tiny", arms={"spr": {}, "drq": {"variant": "drq"}})
  results = {
    "boxing": _played(spr=[3.0, 9.0]),
    "pong": _played(spr=[-20.0, -5.0], drq=[-21.0, 0.0]),
  }
  failed = {"boxing/drq": {0: "after step 6", 1: "after step 6"}}
  monkeypatch.setattr(atari100k_suite, "_curves", lambda *_: None)
  atari100k_suite.finish(config, tmp_path, results, "train", failed)
  assert "drq: no aggregates, a run has no score on boxing" in (
    capsys.readouterr().out
  )
  written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
  assert set(written["aggregates"]) == {"spr"}
  assert "improvements" not in written
  assert list(written["not_finite"]) == ["boxing/drq"]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"games": ("pong", "pong")}, "games: got .* each of them once"),
    ({"games": ("tetris",)}, "tetris"),
    (
      {"arms": {"spr": {"env_id": "Pong-Atari"}}},
      "arms.spr.env_id: got 'Pong-Atari', expected none",
    ),
  ],
)
def test_wrong_suites_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    suite("spr", **changes)


@pytest.mark.parametrize("path", sorted(_CONFIGS.glob("atari100k_*.py")))
def test_every_agent_has_a_tiny_variant(path):
  module = importlib.import_module(f"configs.spr.{path.stem}")
  config = configuration.from_config_dict(
    spr_arms.Config, module.get_config("tiny")
  )
  (arm,) = spr_arms.make_arms(config).values()
  assert arm.settings.env_id == "Pong-Atari"
  assert arm.agent.num_steps == 50


def test_an_unknown_agent_is_refused():
  with pytest.raises(ValueError, match="variant: got 'huge'"):
    atari100k.get_config("huge")


@pytest.mark.slow
@pytest.mark.usefixtures("playable")
def test_a_suite_its_continuation_and_its_evaluation(tmp_path, capsys):
  def run(mode="train", games=("boxing", "pong")):
    config = suite("tiny", keep_checkpoints=9, games=games)
    runs = atari100k_suite.make_runs(config)
    results, failed = comparison.run_all(tmp_path, runs, mode, experiment="spr")
    assert not failed
    return config, results, capsys.readouterr().out

  _, first, told = run(games=("pong",))
  assert "pong (1 of 1)" in told
  # Games are added, and what is finished is not done again.
  config, whole, told = run()
  assert "boxing (1 of 2)" in told
  assert "pong (" not in told
  assert whole["pong"] == first["pong"]
  # As if it had been killed after the checkpoint of step 40.
  boxing = tmp_path / "boxing"
  (boxing / "results.json").unlink()
  shutil.rmtree(boxing / "spr" / "checkpoints" / "50")
  assert (boxing / "spr" / "checkpoints" / "40").is_dir()
  _, again, _ = run()
  assert again == whole

  atari100k_suite.finish(config, tmp_path, whole, "train")
  told = capsys.readouterr().out
  for row in (r"pong", "boxing", "optimality gap", "BBF RR8"):
    assert row in told
  saved = json.loads((tmp_path / "results.json").read_text())
  assert saved["games"] == whole
  assert set(saved["aggregates"]["spr"]) >= {"mean", "median", "iqm"}
  summary = tmp_path / "summary" / "spr"
  assert {path.name for path in summary.iterdir()} >= {
    "aggregates.png",
    "profile.png",
    "suite.txt",
  }

  _, played, _ = run("evaluate")
  evaluation = [played[game]["spr"]["evaluation"] for game in config.games]
  assert np.shape(evaluation) == (2, 2)
  atari100k_suite.finish(config, tmp_path, played, "evaluate")
  assert (tmp_path / "evaluation" / "spr" / "suite.txt").is_file()
