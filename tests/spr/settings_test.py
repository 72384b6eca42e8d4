"""Every config of the experiment, and every arm of it, makes an agent."""

import importlib
import pathlib

import pytest

from jaxseq.spr import study
from jaxseq.training import config as config_lib

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs" / "spr"
FILES = sorted(path.stem for path in CONFIGS.glob("[!_]*.py"))


def arms_of(name, *arguments):
  module = importlib.import_module(f"configs.spr.{name}")
  config = config_lib.from_config_dict(
    study.Config, module.get_config(*arguments)
  )
  return {arm: study.make_arm(config, arm) for arm in config.arms}


@pytest.mark.parametrize("name", FILES)
def test_every_config_makes_its_agents(name, atari_stand_in):
  arms = arms_of(name)
  assert arms
  for arm in arms.values():
    encoder = arm.agent.variant.update.networks.encoder
    assert encoder.image_shape == arm.game.image_shape
  module = importlib.import_module(f"configs.spr.{name}")
  with pytest.raises(ValueError, match="got 'huge'"):
    module.get_config("huge")


def test_atari_100k_is_the_published_agent(atari_stand_in):
  agent = arms_of("atari100k_spr")["spr"].agent
  assert (agent.num_steps, agent.variant.updates_per_step) == (100_000, 2)
  assert agent.variant.min_replay == 2000
  assert agent.replay.capacity == 100_000
  assert agent.variant.update.networks.head.features == 7 * 7 * 64
  assert agent.variant.update.augmentation is not None
  assert arms_of("atari100k_sr_spr")["sr_spr"].agent.variant.resets is not None
  assert arms_of("atari100k_der")["der"].agent.replay.num_predictions == 0


def test_the_arms_of_the_quick_config_differ_in_the_prediction_alone():
  arms = arms_of("minatar_quick", "seaquest")
  with_it, without = (
    arms[name].agent.variant.update for name in ("spr", "rainbow")
  )
  assert with_it.predicts
  assert not without.predicts
  assert with_it.networks.head == without.networks.head
  assert with_it.networks.encoder == without.networks.encoder
  assert with_it.optimizer == without.optimizer
  assert with_it.networks.encoder.image_shape == (10, 10, 10)
