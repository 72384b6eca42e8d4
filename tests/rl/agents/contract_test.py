"""Contract of all algorithms: each one that is registered keeps to it.

`tests/rl/agents/NAME_test.py` has `small(**options)`, which returns a
configuration of the algorithm NAME that compiles and runs in moments.
"""

import dataclasses
import functools
import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import _transcript
from jaxseq.rl import algorithms
from jaxseq.rl import encoders
from jaxseq.rl import evaluate
from jaxseq.rl import health
from jaxseq.rl import rollout
from jaxseq.rl.agents import common
from jaxseq.rl.envs import action_masks
from jaxseq.training import optimizers
from tests.rl import toy
from tests.rl.some_actions import SomeActions

toy.register(
  PaidByContract=toy.Paid, SomeByContract=SomeActions, AimByContract=toy.Aim
)

_LIMIT = 5
_ENVIRONMENT = {
  "env_id": "JaxseqTest-PaidByContract",
  "env_options": (("limit", _LIMIT),),
}

# Those that only take one choice.
_OF_CHOICES = {"pqn", "r2d2"}

# Those with three networks compile for longer than all others.
_DEAR = {"sac"}

every = pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.slow if name in _DEAR else ())
    for name in algorithms.names()
  ],
)
of_numbers = pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.slow if name in _DEAR else ())
    for name in algorithms.names()
    if name not in _OF_CHOICES
  ],
)
# Tests that compile updates of their own: one agent stays quick.
one_quick = pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name == "ppo" else pytest.mark.slow)
    for name in algorithms.names()
  ],
)


@functools.cache
def case(name):
  """The algorithm, and a configuration of a few updates of it."""
  small = importlib.import_module(f"tests.rl.agents.{name}_test").small
  config = small(
    **_ENVIRONMENT, normalize_observation=True, reward_normalization="returns"
  )
  return algorithms.get(name), dataclasses.replace(
    config, skip_nonfinite=True, network=toy.network()
  )


@functools.cache
def trained(name):
  """The state at first, and that of a few updates in one call."""
  algorithm, config = case(name)
  runner = algorithm.init(config, jax.random.key(0))
  return runner, *train(name, runner, 4)


def train(name, runner, num_updates, learning_rate=None):
  """Runs updates, with a learning rate that is no part of the program."""
  algorithm, config = case(name)
  assert "learning_rate" in config.traced
  if learning_rate is None:
    learning_rate = config.learning_rate
  values = {"learning_rate": jnp.float32(learning_rate)}
  return algorithm.train(config, runner, num_updates, values)


def on_the_host(tree):
  """What a checkpoint keeps of a state."""
  return jax.tree.map(
    lambda x: (
      jax.random.wrap_key_data(np.asarray(jax.random.key_data(x)))
      if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
      else np.asarray(x)
    ),
    tree,
  )


@one_quick
def test_a_run_that_is_resumed_is_the_same_run(name):
  first, whole, _ = trained(name)
  halfway, _ = train(name, first, 2)
  resumed, _ = train(name, on_the_host(halfway), 2)
  assert resumed.num_updates == whole.num_updates == 4
  chex.assert_trees_all_equal_shapes_and_dtypes(whole, first)
  # Two programs, of two updates and of four, so that rounding may differ.
  toy.equal(resumed.variables, whole.variables, rtol=1e-4, atol=1e-5)


@one_quick
def test_ends_of_episodes_are_counted(name):
  _, config = case(name)
  _, runner, metrics = trained(name)
  # Every episode is cut off after as many steps, each of which pays 1.
  ended = metrics["episodes"] > 0
  assert ended.any()
  for field in ("episode_return", "episode_length"):
    np.testing.assert_array_equal(metrics[field][ended], _LIMIT)
  np.testing.assert_array_equal(
    metrics["env_steps"], config.steps_per_update * np.arange(1, 5)
  )
  chex.assert_shape(list(metrics.values()), (4,))
  assert runner.world.reset.shape == (config.num_envs,)


@one_quick
def test_rewards_of_any_size_are_learned_from_alike(name):
  algorithm, config = case(name)
  first, whole, metrics = trained(name)
  # Powers of two round nothing, so that each number must be the same.
  for pay in (2.0**-10, 2.0**10):
    options = dict(_ENVIRONMENT["env_options"]) | {"pay": pay}
    paid = dataclasses.replace(config, env_options=options)
    after, measured = algorithm.train(
      paid, algorithm.init(paid, jax.random.key(0)), 4
    )
    toy.equal(after.variables, whole.variables, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
      pay * measured["reward_scale"], metrics["reward_scale"], rtol=1e-5
    )
    ended = measured["episodes"] > 0
    returns = measured["episode_return"][ended]
    np.testing.assert_array_equal(returns, pay * _LIMIT)
  assert first.returns.count == 0


@pytest.mark.slow
@every
def test_seeds_side_by_side_are_separate_runs(name):
  algorithm, config = case(name)
  first, whole, _ = trained(name)
  both = jax.tree.map(lambda x: jnp.stack([x, x]), first)
  together, _ = jax.vmap(lambda r: algorithm.train(config, r, 4))(both)
  # Batched products round differently.
  alone = jax.tree.map(lambda x: x[1], together.variables)
  toy.equal(alone, whole.variables, rtol=1e-3, atol=1e-4)


@every
def test_steps_that_are_not_finite_are_skipped(name):
  runner, whole, _ = trained(name)
  after, metrics = train(name, runner, 4, jnp.inf)
  assert metrics[optimizers.SKIPPED].sum() > 0
  before, after = runner.variables["params"], after.variables["params"]
  toy.equal(after, before)
  with pytest.raises(AssertionError):
    toy.equal(whole.variables["params"], before)


@every
@pytest.mark.parametrize("env_id", ["Blank", "RepeatPreviousEasy"])
def test_images_and_vectors_are_played(name, env_id):
  algorithm, config = case(name)
  network = config.network
  if env_id == "Blank":
    encoder = encoders.Config(image_shape=(44, 44, 4))
    network = dataclasses.replace(network, encoder=encoder)
  config = dataclasses.replace(
    config,
    env_id=env_id,
    env_options=(("shape", (44, 44, 1)),) if env_id == "Blank" else (),
    network=network,
    normalize_observation=False,
  )
  player = algorithm.player(config)
  assert isinstance(player, rollout.Player)
  runner = jax.eval_shape(
    functools.partial(algorithm.init, config), jax.random.key(0)
  )
  after, _ = jax.eval_shape(
    lambda runner: algorithm.train(config, runner, 2), runner
  )
  chex.assert_trees_all_equal_shapes_and_dtypes(after, runner)


@one_quick
def test_observations_are_dropped_in_training_alone(name):
  algorithm, config = case(name)
  _, whole, _ = trained(name)
  assert whole.variables["statistics"].mean[0] != 0
  player = algorithm.player(config)
  assert common.training_player(config, player) is player
  config = dataclasses.replace(config, drop_observation=1.0)
  runner = algorithm.init(config, jax.random.key(0))
  runner, _ = algorithm.train(config, runner, 4)
  assert runner.variables["statistics"].mean[0] == 0
  # One number is hidden; the action before and the flag stay.
  assert (runner.world.observation[:, 0] == 0).all()
  assert runner.world.observation[:, 1:].any()
  player = algorithm.player(config)
  assert player.env == algorithm.player(case(name)[1]).env
  world = rollout.start(player, jax.random.key(1), 4, runner.variables)
  world, _ = jax.jit(functools.partial(rollout.step, player))(
    runner.variables, world, jax.random.key(2)
  )
  np.testing.assert_allclose(world.observation[:, 0], np.sin(1), rtol=1e-6)


@one_quick
@pytest.mark.parametrize(
  ("size", "normalizes"), [(1e5, False), (1e-4, False), (1e5, True)]
)
def test_sizes_of_observations_are_told(name, size, normalizes):
  algorithm, config = case(name)
  options = dict(_ENVIRONMENT["env_options"]) | {"size": size}
  config = dataclasses.replace(
    config, env_options=options, normalize_observation=normalizes
  )
  runner = algorithm.init(config, jax.random.key(0))
  _, metrics = algorithm.train(config, runner, 10)
  # Sines of 0 to 4, as every episode has five steps.
  expected = size * np.sqrt(np.square(np.sin(np.arange(5))).mean())
  np.testing.assert_allclose(metrics["observation_size"], expected, rtol=0.2)
  told = health.warnings(config, metrics).get("observation_size", "")
  assert ("Set normalize_observation=True" in told) != normalizes


@every
def test_actions_reach_all_between_their_bounds_and_nothing_beyond(name):
  algorithm, config = case(name)
  config = dataclasses.replace(
    config,
    env_id="JaxseqTest-AimByContract",
    env_options=(),
    normalize_observation=False,
    scale_actions=True,
  )
  if name in _OF_CHOICES:
    with pytest.raises(ValueError, match="environment with Discrete actions"):
      algorithm.player(config)
    return
  player = algorithm.player(config)

  @jax.jit
  def play(key):
    runner = algorithm.init(config, key)
    world = rollout.start(player, key, 16, runner.variables)
    return rollout.collect(player, runner.variables, world, key, 32)[1]

  taken = play(jax.random.key(0))
  # -1,000 is paid for an action beyond the bounds.
  assert (np.asarray(taken.reward) >= 40).all()
  actions = np.asarray(
    jax.vmap(jax.vmap(player.network.actions.to_environment))(taken.action)
  )
  assert actions.min() < 215
  assert actions.max() > 285
  assert 235 < actions.mean() < 265
  # The action before, as the network sees it: 0 at first, then -1 to 1.
  before = np.asarray(taken.observation)[..., 1]
  np.testing.assert_allclose(
    before[1:],
    np.where(taken.reset[1:], 0, (actions[:-1, :, 0] - 250) / 50),
    rtol=1e-4,
    atol=1e-5,
  )


@of_numbers
def test_a_transcript_tells_the_actions_of_the_environment(name):
  algorithm, config = case(name)
  config = dataclasses.replace(
    config,
    env_id="JaxseqTest-AimByContract",
    env_options=(),
    normalize_observation=False,
    scale_actions=True,
  )
  player = algorithm.player(config)
  variables = algorithm.init(config, jax.random.key(0)).variables
  episode, _ = evaluate.record(config, variables, jax.random.key(1), 4)
  rows = _transcript.rows(player, jax.device_get(episode))
  assert len(rows) == 4
  for _, _, action, reward, _ in rows:
    assert abs(100 - abs(float(action) - 260) - float(reward)) < 1


def test_defaults_scale_actions_and_published_values_do_not():
  for name in ("ppo", "sac"):
    cls = algorithms.get(name).Config
    assert cls().scale_actions
    assert not algorithms.published(cls).scale_actions


def _masked(name, **options):
  """The algorithm, and a configuration of it on a game with masks."""
  algorithm, config = case(name)
  return algorithm, dataclasses.replace(
    config,
    env_id="JaxseqTest-SomeByContract",
    env_options=tuple(options.items()),
  )


@every
def test_a_mask_beside_other_parts_is_respected(name):
  algorithm, config = _masked(name, form="goal", choices=(8,), chance=0.3)
  player = algorithm.player(config)

  @jax.jit
  def play(key):
    runner = algorithm.init(config, key)
    world = rollout.start(player, key, 16, runner.variables)
    return rollout.collect(player, runner.variables, world, key, 32)[1]

  taken = play(jax.random.key(0))
  assert (np.asarray(taken.reward) == 1).all()
  # The goal is seen: a number each, the action before and a flag.
  seen, mask = action_masks.split(taken.observation)
  assert seen.shape[-1] == 1 + 1 + 8 + 1
  assert not np.asarray(mask).all()


@pytest.mark.parametrize(
  ("form", "message"),
  [
    ("mask", r"observation\['mask'\]: got shape \(3,\) of bool, .* Return"),
    ("legal", r"observation\['legal_actions'\]: .* give it another name"),
    ("nested", r"observation\['agent'\]\['action_mask'\]: .* at the top. Re"),
    ("tuple", r"observation\[1\]: got .* of bool, .* give it another dtype"),
    ("dict in a tuple", r"observation\[0\]\['action_mask'\]: got a mask"),
    ("mask in a mask", r"observation\['action_mask'\]: got a mask of actions"),
    ("without observation", "observation: got .'action_mask'., expected an ob"),
  ],
)
@pytest.mark.parametrize("name", algorithms.names())
def test_a_mask_at_another_place_is_refused(name, form, message):
  algorithm, config = _masked(name, form=form)
  with pytest.raises(ValueError, match=message):
    algorithm.player(config)
