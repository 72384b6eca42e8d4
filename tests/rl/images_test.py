"""Agents of in-context RL that see images, by configuration alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.icrl import images
from jaxseq.rl import algorithms
from jaxseq.rl import encoders
from jaxseq.rl import envs
from jaxseq.rl import rl_arms
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.agents import ppo
from jaxseq.training import configuration
from tests.spr import games


def train(env_id, name):
  """Trains an arm of the tiny config; returns its player and its end."""
  config = configuration.from_config_dict(
    rl_arms.Config, images.get_config(f"{env_id},tiny")
  )
  arm = rl_arms.agent_config(config, name)
  module = algorithms.of(arm)
  runner = module.init(arm, jax.random.key(0))
  after, metrics = module.train(arm, runner, arm.num_updates)
  assert np.isfinite(metrics["loss"][-1])
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()),
    runner.variables["params"]["image"],
    after.variables["params"]["image"],
  )
  assert all(jax.tree.leaves(moved))
  return module, arm, after


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r2d2", "ppo"])
def test_minatar_by_a_convolution(name):
  _, _, after = train("Breakout-MinAtar", name)
  observation = after.world.observation
  assert observation.image.shape == (4, 10, 10, 4)
  assert observation.image.dtype == jnp.uint8
  assert observation.history.shape == (4, 3 + 1)


@pytest.mark.slow
@pytest.mark.parametrize(
  "name", [pytest.param("r2d2", marks=pytest.mark.slow), "ppo"]
)
def test_frames_of_atari_and_going_on(name):
  pytest.importorskip("ale_py")
  module, arm, after = train("Breakout-Atari", name)
  assert after.world.observation.image.shape == (4, 84, 84, 4)
  # The emulators' memory is in the state: a run that goes on is the same.
  first = module.init(arm, jax.random.key(0))
  for _ in range(arm.num_updates):
    first, _ = module.train(arm, first, 1)
  for x, y in zip(
    jax.tree.leaves(after.world), jax.tree.leaves(first.world), strict=True
  ):
    np.testing.assert_array_equal(x, y)


def test_images_may_be_flattened():
  env, params = rollout.environment("Breakout-MinAtar")
  observation, _ = env.reset(jax.random.key(0), params)
  assert observation.shape == env.observation_space(params).shape
  assert observation.shape == (400 + 3 + 1,)
  assert set(np.unique(observation)) == {0, 1}


def test_frames_are_stacked_and_blanked():
  env = wrappers.images(wrappers.FrameStack(games.Counting(length=3), 3))
  params = env.default_params
  key = jax.random.key(0)
  observation, state = env.reset(key, params)
  seen, last = [observation], []
  for _ in range(4):
    observation, state, *_, info = env.step(key, state, jnp.int32(2), params)
    seen.append(observation)
    last.append(info["final_observation"].image[0, 0].tolist())
  assert [x.image[0, 0].tolist() for x in seen] == [
    [0, 0, 0],
    [0, 0, 1],
    [0, 1, 2],
    [0, 0, 0],
    [0, 0, 1],
  ]
  assert last == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [0, 0, 1]]
  # The previous action, and whether an episode begins.
  assert [x.history.tolist() for x in seen[2:4]] == [[0, 0, 1, 0], [0, 0, 0, 1]]
  space = env.observation_space(params)
  assert space.spaces["image"].shape == seen[0].image.shape
  assert space.spaces["history"].shape == seen[0].history.shape


def test_what_is_no_image_has_no_encoder():
  network = ppo.networks.Config(encoder=encoders.Config())
  config = ppo.Config(env_id="RepeatPreviousEasy", network=network)
  with pytest.raises(ValueError, match="network.encoder: .* are no images"):
    ppo.player(config)
  config = ppo.Config(
    env_id="Breakout-MinAtar", network=network, normalize_observation=True
  )
  with pytest.raises(ValueError, match="normalize_observation: got True"):
    ppo.player(config)


def test_an_environment_says_how_many_frames_are_seen():
  env, params = rollout.environment("Blank", as_images=True)
  assert env.observation_space(params).spaces["image"].shape == (84, 84, 4)
  assert envs.make("Blank")[0].frame_stack == 4
