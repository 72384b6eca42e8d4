"""Random play here and in the original POPGym; run by `make test-popgym`."""

import functools
import random
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxseq.rl import envs

pytestmark = [
  pytest.mark.popgym,
  # The other libraries' own business.
  pytest.mark.filterwarnings("default"),
]

_EPISODES = 2000
# Standard errors between two means of as many episodes. Beyond 6 lie 2e-9 of a
# normal distribution, and a run has some 2000 comparisons; a mean that is off
# by a seventh of the standard deviation of an episode goes beyond.
_MOST = 6.0
# The same for the distance between two distributions.
_LEAST_PROBABILITY = 2e-9
# Sums of up to 1023 float32 rewards, each an exact one rounded.
_ROUNDING = 1e-5
# Our own second names.
_ENV_IDS = [name for name in envs.POPGYM if not name.startswith("Stateless")]


@pytest.fixture(scope="module")
def originals():
  """The classes of the original by name, such as "RepeatFirstEasy"."""
  import popgym.envs

  return {made.__name__: made for made in popgym.envs.ALL}


@functools.partial(jax.jit, static_argnums=0)
def _play_ours(env, key):
  """Plays one episode in each of many environments.

  Returns float32: (episodes,) returns, lengths, and whether the episode
  terminated and was truncated; and (episodes, d) means of the observations.
  """
  params = env.default_params

  def flat(observation):
    leaves = jax.tree.leaves(observation)
    return jnp.concatenate([jnp.ravel(x).astype(jnp.float32) for x in leaves])

  def episode(key):
    key_reset, key_play = jax.random.split(key)
    first, state = env.reset(key_reset, params)

    def step(carry, key):
      state, alive, sums = carry
      key_action, key_step = jax.random.split(key)
      action = env.action_space(params).sample(key_action)
      _, state, reward, terminated, truncated, info = env.step(
        key_step, state, action, params
      )
      seen = flat(info["final_observation"])
      now = jnp.stack([reward, 1.0, terminated, truncated])
      sums = jax.tree.map(
        lambda total, x: total + jnp.where(alive, x, 0), sums, (now, seen)
      )
      return (state, alive & ~(terminated | truncated), sums), None

    sums = jnp.zeros(4), flat(first)
    (_, alive, (totals, seen)), _ = jax.lax.scan(
      step,
      (state, jnp.bool_(True), sums),
      jax.random.split(key_play, params.max_steps_in_episode),
    )
    return totals, seen / (totals[1] + 1), alive

  return jax.vmap(episode)(jax.random.split(key, _EPISODES))


def _ours(env_id, seed):
  env, _ = envs.make(env_id)
  totals, seen, alive = _play_ours(env, jax.random.key(seed))
  assert not alive.any()
  return np.asarray(totals, np.float64), np.asarray(seen, np.float64)


def _theirs(made, seed):
  """What `_ours` returns, of the original."""
  # Some of its games draw from the global generators.
  random.seed(seed)
  np.random.seed(seed)  # noqa: NPY002
  env = made()
  env.action_space.seed(seed)
  env.reset(seed=seed)
  totals, means = [], []
  for _ in range(_EPISODES):
    observation, _ = env.reset()
    seen = np.array(observation, np.float64).ravel()
    total, length, done = 0.0, 0, False
    while not done:
      observation, reward, terminated, truncated, _ = env.step(
        env.action_space.sample()
      )
      seen += np.ravel(observation)
      total += reward
      length += 1
      done = terminated or truncated
    totals.append((total, length, terminated, truncated))
    means.append(seen / (length + 1))
  return np.array(totals, np.float64), np.array(means)


def _distance(ours, theirs):
  """Differences of means in standard errors, for each column."""
  error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / _EPISODES)
  difference = ours.mean(axis=0) - theirs.mean(axis=0)
  return difference / np.maximum(error, _ROUNDING)


def _compare(ours, theirs):
  """Distances of means and of variances, for each column."""
  center = (ours.mean(axis=0) + theirs.mean(axis=0)) / 2
  return np.stack(
    [
      _distance(ours, theirs),
      _distance((ours - center) ** 2, (theirs - center) ** 2),
    ]
  )


def _same_distribution(ours, theirs):
  """Probability of Kolmogorov and Smirnov's test."""
  # Numbers that only rounding holds apart become one.
  values, inverse = np.unique(np.append(ours, theirs), return_inverse=True)
  levels = np.cumsum(np.diff(values, prepend=values[0]) > _ROUNDING)[inverse]
  return scipy.stats.ks_2samp(levels[: ours.size], levels[ours.size :]).pvalue


def test_the_games_are_the_same(originals):
  assert set(_ENV_IDS) == set(originals)


@pytest.mark.parametrize("env_id", _ENV_IDS)
def test_random_episodes(originals, env_id):
  seed = zlib.crc32(env_id.encode())
  ours, our_means = _ours(env_id, seed)
  theirs, their_means = _theirs(originals[env_id], seed)
  assert our_means.shape == their_means.shape
  episodes = _compare(ours, theirs)
  seen = _compare(our_means, their_means)
  equal = [_same_distribution(ours[:, i], theirs[:, i]) for i in range(2)]
  print(
    f"{env_id}: return {ours[:, 0].mean():.4f} {theirs[:, 0].mean():.4f},"
    f" length {ours[:, 1].mean():.2f} {theirs[:, 1].mean():.2f}, terminated"
    f" {ours[:, 2].mean():.4f} {theirs[:, 2].mean():.4f}; standard errors:"
    f" return {episodes[0, 0]:.1f}, its variance {episodes[1, 0]:.1f}, length"
    f" {episodes[0, 1]:.1f}, its variance {episodes[1, 1]:.1f}, at most"
    f" {np.abs(seen).max():.1f} in {seen.size} of observations; distributions"
    f" {min(equal):.1e}"
  )
  assert np.abs(episodes).max() < _MOST
  assert np.abs(seen).max() < _MOST
  assert min(equal) > _LEAST_PROBABILITY


@pytest.mark.parametrize("column", [0, 1])
def test_a_small_difference_is_seen(column):
  # Means that differ by 15 %.
  ours, _ = _ours("PositionOnlyCartPoleEasy", 0)
  theirs, _ = _ours("PositionOnlyCartPoleEasy", 1)
  assert np.abs(_compare(ours, theirs)).max() < _MOST
  shifted = theirs[:, column] * 1.15
  score = _distance(ours[:, column], shifted)
  assert np.abs(score) > _MOST
