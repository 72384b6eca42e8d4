"""The PPO objective as small functions of arrays.

Schulman et al., "Proximal Policy Optimization Algorithms", arXiv:1707.06347,
equations 7 and 9; the clipped value loss and the normalised advantages are
those of the authors' published implementation.
"""

import chex
import jax
import jax.numpy as jnp

Array = jax.Array


def normalize(advantage: Array, epsilon: float = 1e-8) -> Array:
  """Shifts and scales to mean 0 and population standard deviation 1."""
  return (advantage - advantage.mean()) / (advantage.std() + epsilon)


def clipped_surrogate(
  log_prob: Array, old_log_prob: Array, advantage: Array, clip: float
) -> Array:
  """Returns the mean of -min(ratio * A, clip(ratio, 1 -+ clip) * A)."""
  chex.assert_equal_shape([log_prob, old_log_prob, advantage])
  ratio = jnp.exp(log_prob - old_log_prob)
  clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
  return -jnp.minimum(ratio * advantage, clipped * advantage).mean()


def value_loss(
  value: Array, old_value: Array, target: Array, clip: float | None
) -> Array:
  """Returns half the mean squared error, pessimistic about large moves.

  Args:
    value: any shape.
    old_value: as `value`; predictions at the time of the rollout.
    target: as `value`.
    clip: the error counts as no smaller than that of a prediction which moved
      at most this far from `old_value`; None for the plain squared error.

  Returns:
    A scalar.
  """
  chex.assert_equal_shape([value, old_value, target])
  error = jnp.square(value - target)
  if clip is not None:
    near = old_value + jnp.clip(value - old_value, -clip, clip)
    error = jnp.maximum(error, jnp.square(near - target))
  return 0.5 * error.mean()


def ppo(
  log_prob: Array,
  entropy: Array,
  value: Array,
  *,
  old_log_prob: Array,
  old_value: Array,
  advantage: Array,
  target: Array,
  clip: float = 0.2,
  value_coef: float = 0.5,
  entropy_coef: float = 0.01,
  clip_value: bool = True,
  normalize_advantage: bool = True,
) -> tuple[Array, dict[str, Array]]:
  """Returns the PPO loss of one minibatch.

      actor_loss + value_coef * value_loss - entropy_coef * entropy

  Args:
    log_prob: log-probability of the taken actions now, any shape; the other
      arrays have the same shape.
    entropy: entropy of the policy now.
    value: predicted values now.
    old_log_prob: log-probability of the actions when they were taken.
    old_value: predicted values at that time.
    advantage: advantages; normalised inside the minibatch if asked to.
    target: value targets.
    clip: range of the ratio, and of the value if `clip_value`.
    value_coef: weight of the value loss.
    entropy_coef: weight of the entropy bonus.
    clip_value: whether the value loss is clipped.
    normalize_advantage: whether advantages are normalised.

  Returns:
    The loss, and a dict of scalars: `actor_loss`, `value_loss`, `entropy`,
    `approx_kl` (the estimator mean(ratio - 1 - log ratio) of KL(old, new)) and
    `clip_fraction` (share of the ratios outside the range).
  """
  if normalize_advantage:
    advantage = normalize(advantage)
  actor = clipped_surrogate(log_prob, old_log_prob, advantage, clip)
  critic = value_loss(value, old_value, target, clip if clip_value else None)
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


def explained_variance(value: Array, target: Array) -> Array:
  """Returns 1 - Var(target - value) / Var(target); 0 if targets are constant.

  1 is a perfect critic, 0 one no better than a constant.
  """
  chex.assert_equal_shape([value, target])
  variance = target.var()
  constant = variance == 0
  share = (target - value).var() / jnp.where(constant, 1, variance)
  return jnp.where(constant, 0, 1 - share)
