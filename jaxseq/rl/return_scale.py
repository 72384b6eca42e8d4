"""Reward normalization by the running mean square of discounted returns.

An agent whose values have a scale of 1 learns equally from rewards of any
scale. Rewards are divided by the root mean square of the returns

    G_t = r_t + gamma G_{t-1},  which restart with each episode,

over all steps played so far, like the reward wrapper of OpenAI's baselines
(https://github.com/openai/baselines, vec_normalize.py), which divides by their
standard deviation. That is 0 if all returns are equal; the mean square
is not.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.training import optimizers

Array = jax.Array


class Statistics(NamedTuple):
  """The discounted returns of the steps played so far.

  Attributes:
    count: () float32, the number of steps.
    mean_square: () float32, of the returns.
    returns: (num_envs,) float32, of the current episodes.
  """

  count: Array
  mean_square: Array
  returns: Array


def initial(num_envs: int) -> Statistics:
  """Returns the statistics before the first step."""
  zero = jnp.float32(0)
  return Statistics(zero, zero, jnp.zeros(num_envs, jnp.float32))


def merge(
  statistics: Statistics, reward: Array, ended: Array, gamma: float
) -> Statistics:
  """Adds the steps of a rollout.

  Args:
    statistics: statistics of the earlier steps.
    reward: (num_envs, time), at least one step.
    ended: (num_envs, time) bool, whether the episode ended after the step.
    gamma: discount.

  Returns:
    The statistics of all steps together. Non-finite rewards leave them
    unchanged, except that the returns of current episodes restart at 0.
  """
  decay = jnp.where(ended, 0.0, gamma)
  before = jnp.pad(decay[:, :-1], ((0, 0), (1, 0)), constant_values=1.0)
  returns, _ = recurrence.linear_scan(
    before[..., None],
    reward.astype(jnp.float32)[..., None],
    statistics.returns[:, None],
  )
  returns = returns[..., 0]
  count = statistics.count + returns.size
  share = returns.size / count
  added = jnp.square(returns).mean() - statistics.mean_square
  merged = Statistics(
    count, statistics.mean_square + share * added, decay[:, -1] * returns[:, -1]
  )
  fresh = statistics._replace(returns=jnp.zeros_like(statistics.returns))
  return optimizers.keep_if(jnp.isfinite(merged.mean_square), merged, fresh)


def scale(statistics: Statistics) -> Array:
  """Returns the factor () on rewards: 1 before the first nonzero reward."""
  square = statistics.mean_square
  return jnp.where(
    square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 1
  )
