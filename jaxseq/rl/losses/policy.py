"""The policy loss and the value loss of PPO.

Schulman et al., "Proximal Policy Optimization Algorithms", arXiv:1707.06347,
equations 7 and 9; the clipped value loss and the normalized advantages are
those of the authors' published implementation.
"""

import chex
import jax
import jax.numpy as jnp

Array = jax.Array


def normalize(
  advantages: Array, epsilon: float = 1e-8, min_std: float = 0.0
) -> Array:
  """Shifts to mean 0, and scales to population standard deviation 1.

  A standard deviation below `min_std` counts as that.
  """
  std = advantages.std()
  if min_std:
    std = jnp.maximum(std, min_std)
  return (advantages - advantages.mean()) / (std + epsilon)


def clipped_surrogate(
  log_prob: Array, old_log_prob: Array, advantages: Array, clip: float
) -> Array:
  """Returns the mean of -min(ratio * A, clip(ratio, 1 -+ clip) * A)."""
  chex.assert_equal_shape([log_prob, old_log_prob, advantages])
  ratio = jnp.exp(log_prob - old_log_prob)
  clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
  return -jnp.minimum(ratio * advantages, clipped * advantages).mean()


def value_loss(
  v: Array, old_v: Array, returns: Array, clip: float | None
) -> Array:
  """Returns half the mean squared error, pessimistic about large moves.

  Args:
    v: predicted values, of any shape.
    old_v: as `v`; predictions at the time of the rollout.
    returns: as `v`.
    clip: the error is at least that of a prediction clipped to this distance
      from `old_v`; None for the plain squared error.

  Returns:
    A scalar.
  """
  chex.assert_equal_shape([v, old_v, returns])
  error = jnp.square(v - returns)
  if clip is not None:
    near = old_v + jnp.clip(v - old_v, -clip, clip)
    error = jnp.maximum(error, jnp.square(near - returns))
  return 0.5 * error.mean()


def ppo(
  log_prob: Array,
  entropy: Array,
  v: Array,
  *,
  old_log_prob: Array,
  old_v: Array,
  advantages: Array,
  returns: Array,
  clip: float = 0.2,
  value_coef: float = 0.5,
  entropy_coef: float = 0.01,
  clip_value: bool = True,
  normalize_advantage: bool = True,
  min_advantage_std: float = 0.0,
) -> tuple[Array, dict[str, Array]]:
  """Returns the PPO loss of one minibatch.

      actor_loss + value_coef * value_loss - entropy_coef * entropy

  Args:
    log_prob: log-probability of the taken actions now, any shape; the other
      arrays have the same shape.
    entropy: entropy of the policy now.
    v: predicted values now.
    old_log_prob: log-probability of the actions when they were taken.
    old_v: predicted values at that time.
    advantages: normalized inside the minibatch if requested.
    returns: targets of the values.
    clip: range of the ratio, and of the values if `clip_value`.
    value_coef: weight of the value loss.
    entropy_coef: weight of the entropy bonus.
    clip_value: whether the value loss is clipped.
    normalize_advantage: whether advantages are normalized.
    min_advantage_std: the least number that normalized advantages are divided
      by.

  Returns:
    The loss, and a dict of scalars: `actor_loss`, `value_loss`, `entropy`,
    `approx_kl` (the estimator mean(ratio - 1 - log ratio) of KL(old, new)) and
    `clip_fraction` (share of the ratios outside the range).
  """
  if normalize_advantage:
    advantages = normalize(advantages, min_std=min_advantage_std)
  actor = clipped_surrogate(log_prob, old_log_prob, advantages, clip)
  critic = value_loss(v, old_v, returns, clip if clip_value else None)
  mean_entropy = entropy.mean()
  total = actor + value_coef * critic - entropy_coef * mean_entropy
  log_ratio = jax.lax.stop_gradient(log_prob - old_log_prob)
  ratio = jnp.exp(log_ratio)
  outside = jnp.abs(ratio - 1) > clip
  return total, {
    "actor_loss": actor,
    "value_loss": critic,
    "entropy": mean_entropy,
    "approx_kl": (ratio - 1 - log_ratio).mean(),
    "clip_fraction": outside.mean(dtype=total.dtype),
  }


def explained_variance(v: Array, returns: Array) -> Array:
  """Returns 1 - Var(returns - v) / Var(returns); 0 if targets are constant.

  1 is a perfect critic, 0 is no better than a constant.
  """
  chex.assert_equal_shape([v, returns])
  variance = returns.var()
  constant = variance == 0
  share = (returns - v).var() / jnp.where(constant, 1, variance)
  return jnp.where(constant, 0, 1 - share)
