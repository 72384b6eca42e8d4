"""Warnings of trainings that go wrong, on made-up metrics."""

import dataclasses
import logging as python_logging
import pathlib

from absl import logging
import numpy as np
import pytest

from jaxseq.rl import algorithms
from jaxseq.rl import health
from jaxseq.rl import rl_arms
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import pqn
from jaxseq.rl.agents import r2d2
from jaxseq.rl.agents import sac
from jaxseq.training import configuration

UPDATES = 100


def _ppo(**fields):
  fields = {"reward_normalization": "none", "critic": "shared"} | fields
  config = ppo.Config(**fields)
  steps = UPDATES * config.steps_per_update
  return dataclasses.replace(config, total_steps=steps)


def _learning(seeds=2):
  """Metrics of seeds whose critic learns, noisily and after a bad start."""
  done = np.linspace(0, 1, UPDATES)
  noise = np.random.default_rng(0).normal(size=(seeds, UPDATES))
  return {
    "explained_variance": -0.5 + 1.3 * np.sqrt(done) + 0.1 * noise,
    "value_rms": 0.2 + done + 0.05 * np.abs(noise),
    "target_rms": 1 + done + 0.05 * np.abs(noise),
    "entropy": 1.4 - done + 0 * noise,
  }


@pytest.mark.parametrize("normalization", ["none", "returns"])
def test_a_training_that_learns_has_no_warnings(normalization):
  config = _ppo(reward_normalization=normalization)
  assert health.warnings(config, _learning()) == {}
  # Neither has one whose returns are noise, or all the same.
  for variance in (np.full(UPDATES, -0.02), np.zeros(UPDATES)):
    noise = _learning() | {"explained_variance": variance}
    assert health.warnings(config, noise) == {}


@pytest.mark.parametrize("name", ["value_rms", "target_rms"])
def test_large_rewards_are_to_be_normalized_and_exploding_values_slowed(name):
  metrics = _learning()
  metrics[name][1] = np.geomspace(1, 50, UPDATES)
  (text,) = health.warnings(_ppo(), metrics).values()
  assert "got 50 (seeds 1), expected at most 10: rewards are large" in text
  assert "Set reward_normalization='returns'" in text
  assert "learning_rate = 0.002" in text
  normalized = _ppo(reward_normalization="returns")
  assert health.warnings(normalized, metrics) == {}
  # In units of the targets, whatever rewards are multiplied by.
  popart = _ppo(reward_normalization="popart", reward_scale=0.01)
  assert health.warnings(popart, metrics) == {}
  metrics[name][1] = np.geomspace(1, 5000, UPDATES)
  (text,) = health.warnings(normalized, metrics).values()
  assert "expected at most 100: values explode. Lower learning_rate" in text
  assert "critic='separate'" in text
  separate = dataclasses.replace(normalized, critic="separate")
  (text,) = health.warnings(separate, metrics).values()
  assert "Lower learning_rate = 0.002; see" in text


def test_one_large_update_is_no_reason_to_warn():
  metrics = _learning()
  metrics["value_rms"][:, -3:] = 1e6
  assert health.warnings(_ppo(), metrics) == {}


@pytest.mark.parametrize("agent", [r2d2, sac])
def test_action_values_of_replay_count_in_units_of_the_rewards(agent):
  q_value = np.full((1, UPDATES), np.nan)
  q_value[:, 20:] = np.geomspace(1, 1000, UPDATES - 20)
  metrics = {"q_value": q_value}
  config = algorithms.published(agent.Config)
  (text,) = health.warnings(config, metrics).values()
  assert text.startswith("q_value: got 1e+03, expected at most 100: rewards")
  scaled = dataclasses.replace(config, reward_scale=200.0)
  assert not health.warnings(scaled, metrics)
  assert not health.warnings(config, {"q_value": q_value / 20})


def test_the_entropy_in_soft_values_is_no_reason_to_warn():
  metrics = {name: np.ones(UPDATES) for name in ("alpha", "entropy")}
  metrics["q_value"] = np.full(UPDATES, 190.0)
  config = algorithms.published(sac.Config)
  assert not health.warnings(config, metrics)
  assert health.warnings(config, metrics | {"alpha": np.full(UPDATES, 0.1)})


def test_a_critic_that_explains_nothing_is_told_after_half_of_the_run():
  metrics = {"explained_variance": np.full((3, UPDATES), 0.4)}
  metrics["explained_variance"][[0, 2], 20:] = -0.5
  (text,) = health.warnings(_ppo(), metrics).values()
  assert "got -0.5, the median of the last 25 updates (seeds 0, 2)" in text
  assert "Lower learning_rate = 0.002, or set critic='separate'" in text
  first = {name: x[:, :49] for name, x in metrics.items()}
  assert health.warnings(_ppo(), first) == {}
  other = pqn.Config(reward_normalization="none")
  steps = UPDATES * other.steps_per_update
  other = dataclasses.replace(other, total_steps=steps)
  (text,) = health.warnings(other, metrics).values()
  assert "critic='separate'" not in text


@pytest.fixture
def logged(monkeypatch):
  """The sentences that are logged."""
  texts = []
  handler = python_logging.Handler()
  handler.emit = lambda record: texts.append(record.getMessage())
  logger = logging.get_absl_logger()
  logger.addHandler(handler)
  yield texts
  logger.removeHandler(handler)


def _write(hook, metrics, name="gru"):
  """Calls a hook with the rows of metrics, and rows of evaluations."""
  for i in range(UPDATES):
    row = {name: x[:, i].tolist() for name, x in metrics.items()}
    hook(pathlib.Path("runs") / name, i + 1, {**row, "episode_return": [0, 0]})
    hook(pathlib.Path("runs") / name, i + 1, {"evaluation": [0.0, 0.0]})


def test_a_watch_warns_once_of_each(logged):
  metrics = _learning()
  _write(health.Watch(_ppo()), metrics)
  assert logged == []
  metrics["explained_variance"] -= 2
  metrics["target_rms"] *= 30
  _write(health.Watch(_ppo()), metrics)
  assert len(logged) == 2
  assert logged[0].startswith("gru, step 10: target_rms or value_rms: got ")
  assert logged[1].startswith("gru, step 50: explained_variance: got ")


def test_an_agent_of_the_experiment_is_watched(tmp_path, logged):
  fields = {"num_envs": 2, "rollout_length": 4, "num_minibatches": 1}
  config = configuration.from_config_dict(
    rl_arms.Config,
    {
      "arms": {"none": {"network": {"stack": {"num_layers": 0}}}},
      "agent": fields
      | {"env_id": "CartPole-v1", "total_steps": 160, "num_epochs": 1},
      "num_seeds": 1,
    },
  )
  program = rl_arms.make_arms(config)["none"].program(config)
  row = {"value_rms": [99.0], "target_rms": [99.0]}
  for step in range(10):
    for hook in program.hooks:
      hook(tmp_path, step, row)
  assert len(logged) == 1


@pytest.mark.parametrize(("size", "told"), [(500.0, "500"), (0.001, "0.001")])
def test_observations_of_other_sizes_are_to_be_normalized(size, told):
  metrics = _learning() | {"observation_size": np.ones((2, UPDATES))}
  assert health.warnings(_ppo(), metrics) == {}
  # Nothing but zeros is of no size.
  empty = metrics | {"observation_size": np.zeros((2, UPDATES))}
  assert health.warnings(_ppo(), empty) == {}
  metrics["observation_size"][1, 3:] = size
  (text,) = health.warnings(_ppo(), metrics).values()
  assert f"observation_size: got {told} (seeds 1)" in text
  assert "Set normalize_observation=True" in text
  normalized = _ppo(normalize_observation=True)
  assert health.warnings(normalized, metrics) == {}
  metrics["observation_size"][1, -1] = 1.0
  assert health.warnings(_ppo(), metrics) == {}
