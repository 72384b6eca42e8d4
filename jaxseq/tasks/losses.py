"""Losses of supervised tasks: pure functions of arrays.

Arguments have their usual names in the field. Each loss returns one number per
example or element or, if it says so, their mean over scored elements.
"""

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate


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


def weighted_cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  weight: jax.Array,
  total: jax.Array | float | None = None,
) -> jax.Array:
  """Returns the weighted mean of the cross-entropy, in nats.

  Args:
    logits: (..., classes).
    labels: (...) integers.
    weight: (...) weight of each label; labels of weight 0 may be anything.
    total: sum of the weights of the whole batch, if these elements are a part
      of it: the results of all parts then add up to the batch mean.
  """
  nats = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  if total is None:
    total = weight.sum()
  scored = jnp.where(weight > 0, nats, 0) * weight
  return scored.sum() / jnp.where(total > 0, total, 1)


def token_log_probs(
  logits: jax.Array, labels: jax.Array, mask: jax.Array
) -> jax.Array:
  """Returns the log-probability of each label, (...), 0 if masked out.

  The sum over the last axis is the log-probability of a completion.

  Args:
    logits: (..., time, classes), of the token after each element.
    labels: (..., time) integers, the next tokens.
    mask: (..., time) bool, labels that belong to the completion.
  """
  nats = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  return jnp.where(mask, -nats, 0)


def negative_log_likelihood(
  mean: jax.Array, variance: jax.Array, targets: jax.Array, floor: float
) -> jax.Array:
  """Returns the Gaussian one, (...), summed over the targets' last axis.

  The constant, half the logarithm of 2 pi per number, is omitted.

  Args:
    mean: (..., numbers).
    variance: (..., numbers).
    targets: (..., numbers).
    floor: lower bound of the variance.
  """
  variance = jnp.maximum(variance, floor)
  terms = jnp.log(variance) + (targets - mean) ** 2 / variance
  return 0.5 * terms.sum(axis=-1)


def quantile_loss(
  predicted: jax.Array, targets: jax.Array, quantile: float
) -> jax.Array:
  """Returns the loss (...) that is minimized by a quantile of the targets.

  It is max(q e, (q - 1) e) of the error e = target - predicted: half the
  absolute error for the median, and steeper on one side for others. Koenker &
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


def sampled_softmax(
  positive: jax.Array,
  negative: jax.Array,
  log_probability: jax.Array,
  hit: jax.Array,
) -> jax.Array:
  """Returns the cross-entropy (...) over a target and a sample, in nats.

  The sample's scores are corrected by log(k q) of each draw, the target's score
  is not: so the loss tends to that over all items as k grows. Correcting both
  or neither gives a different loss, which favors popular or rare items.

  Args:
    positive: (...) scores of the targets.
    negative: (..., k) scores of a sample, drawn with replacement.
    log_probability: log q of each draw, broadcastable to (..., k).
    hit: (..., k) bool, True if the draw is the target, which is left out.
  """
  count = negative.shape[-1]
  corrected = negative - log_probability - jnp.log(count)
  corrected = jnp.where(hit, -jnp.inf, corrected)
  together = jnp.concatenate([positive[..., None], corrected], axis=-1)
  return jax.nn.logsumexp(together, axis=-1) - positive


def gbce(
  positive: jax.Array, negative: jax.Array, items: int, t: float = 0.75
) -> jax.Array:
  """Returns the generalized binary cross-entropy (...), in nats per term.

  It is the mean over a target and k others; the target's term is multiplied by
  beta = 1 - t (1 - k / (items - 1)), against the overconfidence caused by
  sampling. t = 0 is plain binary cross-entropy.

  Source: Petrov & Macdonald, arXiv:2308.07192. Their code computes it through
  a transformed logit with clamps, which end the gradient of very low scores.

  Args:
    positive: (...) scores of the targets.
    negative: (..., k) scores of a uniform sample.
    items: number of items.
    t: 0 to 1; 1 makes the scores those of calibrated probabilities.

  Raises:
    ValueError: if t is out of range.
  """
  validate.number("t", t, 0, 1)
  count = negative.shape[-1]
  beta = 1 - t * (1 - count / (items - 1))
  wrong = jax.nn.log_sigmoid(-negative).sum(axis=-1)
  return -(beta * jax.nn.log_sigmoid(positive) + wrong) / (count + 1)
