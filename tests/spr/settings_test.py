"""Every config of the experiment, and every arm of it, makes an agent."""

import dataclasses
import importlib
import pathlib

import pytest

from jaxseq import spr
from jaxseq.spr import resets
from jaxseq.spr import settings
from jaxseq.spr import spr_arms
from jaxseq.spr import variants
from jaxseq.training import configuration

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs" / "spr"
UPDATES = "--config.settings.agent.updates_per_step"
FILES = sorted(path.stem for path in CONFIGS.glob("[!_]*.py"))


def make_arms(config):
  return spr_arms.make_arms(
    configuration.from_config_dict(spr_arms.Config, config)
  )


def arms_of(name, *arguments):
  module = importlib.import_module(f"configs.spr.{name}")
  return make_arms(module.get_config(*arguments))


def agent_of(name, *overrides):
  """Returns the only agent of a config, with fields as the flags have them."""
  overrides = [override.removeprefix("--config.") for override in overrides]
  file = str(CONFIGS / f"{name}.py")
  config = configuration.load(file, overrides, spr_arms.Config)
  (arm,) = make_arms(config).values()
  return arm.agent


@pytest.mark.parametrize("name", FILES)
def test_every_config_makes_its_agents(name, atari_stand_in):
  arms = arms_of(name)
  assert arms
  for arm in arms.values():
    encoder = arm.agent.variant.update.networks.encoder
    assert encoder.image_shape == arm.game.observation_shape
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


@pytest.mark.parametrize("variant", variants.names())
def test_every_published_agent_has_a_config(variant, atari_stand_in):
  agent = agent_of(f"atari100k_{variant}")
  published = variants.get(variant, 6)
  assert agent.variant == published
  assert agent.num_steps == 100_000
  changed = agent_of(f"atari100k_{variant}", f"{UPDATES}=5")
  assert changed.variant == dataclasses.replace(published, updates_per_step=5)


@pytest.mark.parametrize("variant", variants.names())
@pytest.mark.parametrize("name", ["atari100k_spr", "atari100k_sr_spr"])
def test_a_config_of_another_agent(name, variant, atari_stand_in):
  switch = f"--config.settings.variant={variant}"
  published = variants.get(variant, 6)
  assert agent_of(name, switch).variant == published
  changed = agent_of(name, switch, f"{UPDATES}=3")
  assert changed.variant == dataclasses.replace(published, updates_per_step=3)


def test_what_is_none_is_as_published(atari_stand_in):
  def variant_of(agent="bbf", **changes):
    settings = spr.settings.Settings("Pong-Atari", variant=agent, **changes)
    game = spr.settings.make_game(settings)
    return spr.settings.agent_config(settings, game).variant

  published = variants.get("bbf", 6)
  assert variant_of(agent="bbf", encoder={"channels": None}) == published
  changes = {"gamma": None, "resets": {"every": None, "shrink": None}}
  settings = spr.settings.Settings("Pong-Atari", variant="bbf", agent=changes)
  game = spr.settings.make_game(settings)
  assert spr.settings.agent_config(settings, game).variant == published
  settings = dataclasses.replace(settings, agent={"prioritized": False})
  uniform = spr.settings.agent_config(settings, game).variant
  assert uniform == dataclasses.replace(published, prioritized=False)
  changed = variant_of(learning={"optimizer": {"learning_rate": None}})
  assert changed == published
  with pytest.raises(ValueError, match="no field 'updates'"):
    variant_of(learning={"updates": None})
  # What may be None is None.
  clipping = {"optimizer": {"max_grad_norm": None}}
  unclipped = variant_of("spr", learning=clipping)
  assert unclipped.update.optimizer.max_grad_norm is None


def test_resets_that_an_agent_has_not(atari_stand_in):
  assert agent_of("atari100k_spr").variant.resets is None
  every = "--config.settings.agent.resets.every=5000"
  assert agent_of("atari100k_bbf", every).variant.resets == resets.Config(5000)
  assert agent_of("atari100k_spr", every).variant.resets.every == 5000


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


def test_a_memory_that_is_to_be_lost_within_an_episode_is_refused():
  fields = settings.Settings(
    env_id="Trials",
    env_options={"game": "DarkRoomMiddle", "keep_memory": False},
    memory={"stack": {"mixer": "gru"}},
    self_prediction=False,
  )
  game = settings.make_game(fields)
  with pytest.raises(ValueError, match="keep_memory: got False, expected True"):
    settings.agent_config(fields, game)
  without = dataclasses.replace(fields, memory={})
  assert settings.agent_config(without, game).variant
