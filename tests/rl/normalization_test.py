import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import algorithms
from jaxseq.rl import evaluate
from jaxseq.rl import normalization
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import r2d2
from tests.rl import toy

toy.register(Walk=toy.Walk)

# Without a memory: quick to compile, and nothing here depends on one.
_NETWORK = toy.network(num_layers=0)


def _ppo(**options):
  settings = {
    **ppo.Config.published,
    "env_id": "JaxseqTest-Walk",
    "network": _NETWORK,
    "rollout_length": 16,
    "total_steps": 192,
    "learning_rate": 1e-2,
    **toy.QUICK,
  }
  return ppo.Config(**settings | options)


_NORMALIZED = _ppo(normalize_observation=True)


def _merge_all(batches):
  merge = jax.jit(normalization.merge)
  statistics = normalization.initial(batches[0].shape[-1])
  for batch in batches:
    statistics = merge(statistics, batch)
  return statistics


def test_batches_merge_to_the_moments_of_all():
  rng = np.random.default_rng(0)
  # Means that are far from 0, and drift; a number that does not change.
  scale = np.array([1.0, 1e-3, 1e4, 0.0])
  offset = np.array([1e4, 3.0, -1e6, 7.0])
  batches = [
    (offset + scale * (0.1 * i + rng.normal(size=(5, 8, 4)))).astype(np.float32)
    for i in range(20)
  ]
  statistics = _merge_all(batches)
  seen = np.concatenate([b.reshape(-1, 4) for b in batches]).astype(float)
  assert statistics.count == len(seen)
  np.testing.assert_allclose(statistics.mean, seen.mean(axis=0), rtol=1e-6)
  # In each of 20 steps a mean is rounded by up to 5e-4 of a deviation.
  np.testing.assert_allclose(
    statistics.variance, seen.var(axis=0), rtol=1e-3, atol=1e-12
  )


def test_one_observation_after_the_other_is_the_same():
  stream = np.random.default_rng(1).normal(3, 2, (50, 2)).astype(np.float32)
  alone = _merge_all([row[None] for row in stream])
  together = _merge_all([stream])
  for one, all_ in zip(alone, together):
    np.testing.assert_allclose(one, all_, rtol=1e-5)


def test_many_observations_do_not_wear_the_statistics_out():
  # As after 2**28 observations: counts and sums are beyond exact float32.
  before = normalization.Statistics(
    jnp.float32(2**28), jnp.float32([5.0]), jnp.float32([4.0])
  )
  batch = np.array([[3.0], [7.0]], np.float32)
  after = before
  for _ in range(3):
    after = normalization.merge(after, batch)
  np.testing.assert_allclose(after.mean, 5.0, rtol=1e-6)
  np.testing.assert_allclose(after.variance, 4.0, rtol=1e-6)


def test_normalized_observations():
  stream = np.random.default_rng(2).normal(3, 2, (500, 2)).astype(np.float32)
  statistics = _merge_all([stream])
  scaled = normalization.normalize(statistics, stream)
  np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)
  far = normalization.normalize(statistics, jnp.float32([1e9, -1e9]))
  np.testing.assert_array_equal(far, [10, -10])
  nothing = normalization.initial(2)
  np.testing.assert_array_equal(
    normalization.normalize(nothing, stream), stream
  )


@pytest.mark.parametrize("size", [2.0**-40, 2.0**-20, 2.0**20, 2.0**40])
def test_observations_of_any_size_are_normalized_alike(size):
  stream = np.random.default_rng(3).normal(0.2, 2, (500, 2)).astype(np.float32)
  plain, scaled = (
    normalization.normalize(_merge_all([x]), x) for x in (stream, size * stream)
  )
  np.testing.assert_allclose(scaled, plain, rtol=1e-6)
  # What never changes is 0, and its rounding is no change.
  same = np.float32(size) * np.float32(
    [[0.1], [0.1], [np.nextafter(0.1, 1, dtype=np.float32)]]
  )
  scaled = normalization.normalize(_merge_all([same]), same)
  assert np.abs(scaled).max() < 0.1


@pytest.mark.parametrize(
  ("env_id", "numbers", "size"),
  [
    # Position and time; two actions; a flag.
    ("JaxseqTest-Walk", 2, 5),
    ("RepeatPreviousEasy", 0, 9),
    # Four projected numbers; the action as a number; two flags.
    ("ProjectedCartPole", 4, 7),
    ("ProjectedControl", 12, 17),
  ],
)
def test_only_what_is_a_number_is_normalized(env_id, numbers, size):
  network = normalization.normalized(None, *rollout.environment(env_id))
  assert network.is_number == (True,) * numbers + (False,) * (size - numbers)


def test_the_network_sees_numbers_normalized_and_the_rest_as_it_is():
  variables = ppo.init(_NORMALIZED, jax.random.key(1)).variables
  network = ppo.player(_NORMALIZED).network
  memory = network.initial_state((1,))
  observation = jnp.float32([[3.0, 5.0, 0.0, 1.0, 1.0]])
  statistics = normalization.Statistics(
    jnp.float32(64), jnp.full((5,), 2.0), jnp.full((5,), 4.0)
  )
  variables[normalization.COLLECTION] = statistics
  _, value, _ = network.apply(
    variables, observation, memory, None, method="step"
  )
  _, expected, _ = network.network.apply(
    {"params": variables["params"]},
    jnp.float32([[0.5, 1.5, 0.0, 1.0, 1.0]]),
    memory,
    None,
    method="step",
  )
  np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.slow
def test_ppo_learns_from_what_it_played_and_then_counts_it():
  config = _NORMALIZED
  runner, _ = ppo.update(config, ppo.init(config, jax.random.key(0)))
  before = runner.variables[normalization.COLLECTION]
  assert before.count == config.steps_per_update
  _, taken = rollout.collect(
    ppo.player(config),
    runner.variables,
    runner.world,
    jax.random.split(runner.key, 3)[1],
    config.rollout_length,
  )
  after, metrics = ppo.update(config, runner)
  # The optimizer has not touched them: they are the merged ones to rounding.
  for found, expected in zip(
    after.variables[normalization.COLLECTION],
    jax.jit(normalization.merge)(before, taken.observation),
  ):
    np.testing.assert_allclose(found, expected, rtol=1e-5)
  # The loss sees the policy that was played: all ratios are 1.
  assert abs(metrics["approx_kl"]) < 1e-6
  # An evaluation sees the same as the last rollout, frozen.
  played = evaluate.record(config, runner.variables, jax.random.key(2), 12)[0]
  _, value, _ = jax.jit(ppo.player(config).network.apply)(
    runner.variables, played.observation, (), None
  )
  np.testing.assert_allclose(played.value, value, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_statistics_of_a_skipped_update_are_not_applied():
  config = _ppo(normalize_observation=True, skip_nonfinite=True)
  runner, metrics = ppo.update(config, ppo.init(config, jax.random.key(0)))
  assert metrics["skipped"] == 0
  before = runner.variables[normalization.COLLECTION]
  assert before.count == config.steps_per_update
  world = runner.world
  broken = world.observation.at[0, 0].set(jnp.nan)
  spoiled = runner._replace(world=world._replace(observation=broken))
  after, metrics = ppo.update(config, spoiled)
  assert metrics["skipped"] > 0
  jax.tree.map(
    np.testing.assert_array_equal,
    after.variables[normalization.COLLECTION],
    before,
  )
  # What comes next is counted as ever, and everything is finite.
  after, metrics = ppo.update(config, after)
  assert metrics["skipped"] == 0
  statistics = after.variables[normalization.COLLECTION]
  assert statistics.count == 2 * config.steps_per_update
  for leaf in jax.tree.leaves(after.variables):
    assert np.isfinite(leaf).all()


def test_only_what_is_finite_and_not_skipped_is_applied():
  before, seen = normalization.initial(2), jnp.ones((3, 2))
  spoiled = seen.at[0, 1].set(jnp.inf)
  for new, skipped, count in ((seen, 0, 3), (seen, 1, 0), (spoiled, 0, 0)):
    after = normalization.after_update(before, new, jnp.int32(skipped))
    assert after.count == count
  assert normalization.after_update(before, spoiled, None).count == 3


@pytest.mark.slow
def test_r2d2_keeps_observations_and_normalizes_what_it_learns_from():
  config = dataclasses.replace(
    algorithms.published(r2d2.Config),
    env_id="JaxseqTest-Walk",
    network=_NETWORK,
    normalize_observation=True,
    num_envs=4,
    sequence_length=8,
    burn_in=4,
    total_steps=32 * 4,
    replay_sequences=8,
    learning_starts=4,
    num_minibatches=1,
    batch_size=4,
  )
  start = r2d2.init(config, jax.random.key(3))
  runner, metrics = r2d2.update(config, start)
  statistics = runner.statistics
  assert statistics.count == config.steps_per_update
  # Before the burn-in of the first sequence there was nothing.
  stored = runner.replay.items.observation[:4, config.burn_in : -1]
  np.testing.assert_allclose(
    statistics.mean, stored.reshape(-1, 5).mean(axis=0), atol=1e-5
  )
  np.testing.assert_allclose(
    statistics.variance, stored.reshape(-1, 5).var(axis=0), atol=1e-5
  )
  assert np.isfinite(metrics["loss"])
  assert runner.variables[normalization.COLLECTION] is statistics
  # What is learned depends on them, though what is played does not: it was
  # chosen at random.
  other = statistics._replace(variance=100 * statistics.variance)
  again, others = (
    r2d2.update(config, start._replace(statistics=known))
    for known in (start.statistics, other)
  )
  np.testing.assert_array_equal(
    again[0].replay.items.observation, others[0].replay.items.observation
  )
  assert abs(again[1]["loss"] - others[1]["loss"]) > 1e-6


def test_without_it_there_are_no_statistics():
  runner = jax.eval_shape(lambda k: ppo.init(_ppo(), k), jax.random.key(0))
  assert set(runner.variables) == {"params"}
