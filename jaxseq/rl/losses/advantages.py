"""Generalized advantage estimation with termination and truncation.

Schulman et al., "High-Dimensional Continuous Control Using Generalized
Advantage Estimation", arXiv:1506.02438, equations 11 to 16.
"""

import chex
import jax
import jax.numpy as jnp

from jaxseq.recurrence import linear

Array = jax.Array


def gae(
  r_t: Array,
  v_tm1: Array,
  bootstrap_value: Array,
  terminated: Array,
  truncated: Array,
  final_value: Array | None = None,
  *,
  gamma: float,
  gae_lambda: float,
) -> tuple[Array, Array]:
  """Returns advantages and returns of a rollout.

  With v_t the next value in the rollout (`bootstrap_value` after the end), 0
  if the episode terminated, final_value if it was truncated,

      delta_t = r_t + gamma * v_t - v_tm1
      A_t     = delta_t + gamma * gae_lambda * A_{t+1},  cut after an end

  and the returns are A + v_tm1. A step that is both terminated and truncated
  counts as terminated. No gradient flows through the results.

      >>> never = jnp.zeros(2, bool)
      >>> rewards, values, last = jnp.ones(2), jnp.zeros(2), jnp.float32(4)
      >>> advantages.gae(
      ...   rewards, values, last, never, never, gamma=0.5, gae_lambda=1.0
      ... )[0]
      Array([2.5, 3. ], dtype=float32)

  Args:
    r_t: (*batch, time), rewards of the transition that starts at each step.
    v_tm1: (*batch, time), values of the observation each step starts from.
    bootstrap_value: (*batch,), of the observation after the last step.
    terminated: (*batch, time) bool; the episode ended after the step.
    truncated: (*batch, time) bool; the episode was truncated after the step.
    final_value: (*batch, time), value of the observation after the step,
      before any auto-reset; read only at truncated steps. None treats
      truncation like termination: the bootstrap value is 0.
    gamma: discount, in [0, 1].
    gae_lambda: in [0, 1]; 0 gives one-step errors, 1 whole returns.

  Returns:
    Advantages and returns, both (*batch, time).
  """
  chex.assert_equal_shape([r_t, v_tm1, terminated, truncated])
  chex.assert_shape(bootstrap_value, r_t.shape[:-1])
  chex.assert_type([terminated, truncated], bool)
  done = terminated | truncated
  v_t = jnp.concatenate([v_tm1[..., 1:], bootstrap_value[..., None]], axis=-1)
  v_t = jnp.where(done, 0, v_t)
  if final_value is not None:
    chex.assert_equal_shape([r_t, final_value])
    v_t = jnp.where(truncated & ~terminated, final_value, v_t)
  delta_t = r_t + gamma * v_t - v_tm1
  decay = jnp.where(done, 0, jnp.asarray(gamma * gae_lambda, delta_t.dtype))
  advantages, _ = linear.linear_scan(
    decay[..., None], delta_t[..., None], reverse=True
  )
  advantages = jax.lax.stop_gradient(advantages[..., 0])
  return advantages, advantages + jax.lax.stop_gradient(v_tm1)
