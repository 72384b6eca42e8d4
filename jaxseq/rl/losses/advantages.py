"""Generalised advantage estimation with termination and truncation.

Schulman et al., "High-Dimensional Continuous Control Using Generalized
Advantage Estimation", arXiv:1506.02438, equations 11 to 16.
"""

import chex
import jax
import jax.numpy as jnp

from jaxseq.recurrence import linear

Array = jax.Array


def advantages(
  reward: Array,
  value: Array,
  last_value: Array,
  terminated: Array,
  truncated: Array,
  final_value: Array | None = None,
  *,
  gamma: float,
  gae_lambda: float,
) -> tuple[Array, Array]:
  """Returns advantages and value targets of a rollout.

  With `V_{t+1}` the next value in the rollout (`last_value` after the end),

      boot_t  = 0 if terminated_t, final_value_t if truncated_t, else V_{t+1}
      delta_t = r_t + gamma * boot_t - V_t
      A_t     = delta_t + gamma * gae_lambda * A_{t+1},  cut after an end

  and the targets are `A + V`. A step that is both terminated and truncated
  counts as terminated. No gradient flows through the results.

  Args:
    reward: (*batch, time), of the transition that starts at each step.
    value: (*batch, time), of the observation each step starts from.
    last_value: (*batch,), of the observation after the last step.
    terminated: (*batch, time) bool; the episode ended after the step.
    truncated: (*batch, time) bool; the episode was cut off after the step.
    final_value: (*batch, time), value of the observation that the step led to,
      before any auto-reset; read only where an episode was cut off. None
      treats a cut like an end: its bootstrap value is 0.
    gamma: discount, in [0, 1].
    gae_lambda: in [0, 1]; 0 gives one-step errors, 1 whole returns.

  Returns:
    Advantages and targets, both (*batch, time).
  """
  chex.assert_equal_shape([reward, value, terminated, truncated])
  chex.assert_shape(last_value, reward.shape[:-1])
  chex.assert_type([terminated, truncated], bool)
  done = terminated | truncated
  following = jnp.concatenate([value[..., 1:], last_value[..., None]], axis=-1)
  boot = jnp.where(done, 0, following)
  if final_value is not None:
    chex.assert_equal_shape([reward, final_value])
    boot = jnp.where(truncated & ~terminated, final_value, boot)
  delta = reward + gamma * boot - value
  decay = jnp.where(done, 0, jnp.asarray(gamma * gae_lambda, delta.dtype))
  advantage, _ = linear.linear_scan(
    decay[..., None], delta[..., None], reverse=True
  )
  advantage = jax.lax.stop_gradient(advantage[..., 0])
  return advantage, advantage + jax.lax.stop_gradient(value)
