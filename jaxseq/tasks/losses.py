"""Losses of supervised tasks: pure functions of arrays.

Each names its arguments as the field does and returns one number for each
example or element, or, where it says so, their mean over what is scored.
"""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
  logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the mean cross-entropy and accuracy over scored elements.

  Args:
    logits: (..., classes).
    labels: (...) integers.
    mask: (...) bool, which labels are scored; all if None.

  Returns:
    Cross-entropy in nats, accuracy, and the number of scored labels.
  """
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  right = (jnp.argmax(logits, axis=-1) == labels).astype(losses.dtype)
  if mask is None:
    mask = jnp.ones(labels.shape, bool)
  weight = mask.sum()
  divisor = jnp.maximum(weight, 1)

  def mean(x):
    return jnp.where(mask, x, 0).sum() / divisor

  return mean(losses), mean(right), weight


def negative_log_likelihood(
  mean: jax.Array, variance: jax.Array, targets: jax.Array, floor: float
) -> jax.Array:
  """Returns that of a Gaussian, (...), summed over the targets' last axis.

  The constant, half the logarithm of 2 pi for each number, is left out.

  Args:
    mean: (..., numbers).
    variance: (..., numbers).
    targets: (..., numbers).
    floor: the smallest variance that counts.
  """
  variance = jnp.maximum(variance, floor)
  terms = jnp.log(variance) + (targets - mean) ** 2 / variance
  return 0.5 * terms.sum(axis=-1)


def quantile_loss(
  predicted: jax.Array, targets: jax.Array, quantile: float
) -> jax.Array:
  """Returns the loss (...) that a quantile of the targets makes smallest.

  It is max(q e, (q - 1) e) of the error e = target - predicted: half the
  absolute error for the median, and for others steeper on one side. Koenker &
  Bassett, "Regression quantiles", Econometrica 1978.

    >>> import jax.numpy as jnp
    >>> quantile_loss(jnp.zeros(2), jnp.array([1.0, -1.0]), 0.75).tolist()
    [0.75, 0.25]

  Args:
    predicted: (...).
    targets: (...).
    quantile: q, above 0 and below 1.
  """
  error = targets - predicted
  return jnp.maximum(quantile * error, (quantile - 1) * error)
