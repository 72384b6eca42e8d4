"""Losses of next items that look at a few of all items, for large catalogs.

negative = jax.random.randint(key, (batch, k), 0, items)
loss = item_losses.sampled_softmax(positive, scores, log_share, hit)
"""

import jax
import jax.numpy as jnp

from jaxseq import _validate


def sampled_softmax(
  positive: jax.Array,
  negative: jax.Array,
  log_probability: jax.Array,
  hit: jax.Array,
) -> jax.Array:
  """Returns the cross-entropy (...) over a target and a sample, in nats.

  The sample's scores are corrected by log(k q) of what was drawn, the target's
  is not: so the loss tends to that over all items as k grows. With correction
  of both, or none, it is another loss, that favours what is popular or rare.

  Args:
    positive: (...) scores of the targets.
    negative: (..., k) scores of a sample, drawn with replacement.
    log_probability: (..., k), or what broadcasts to it, log q of each draw.
    hit: (..., k) bool, True where the draw is the target: it is left out.
  """
  count = negative.shape[-1]
  corrected = negative - log_probability - jnp.log(count)
  corrected = jnp.where(hit, -jnp.inf, corrected)
  together = jnp.concatenate([positive[..., None], corrected], axis=-1)
  return jax.nn.logsumexp(together, axis=-1) - positive


def gbce(
  positive: jax.Array, negative: jax.Array, items: int, t: float = 0.75
) -> jax.Array:
  """Returns the generalized binary cross-entropy (...), in nats a term.

  It is the mean over a target and k others; the target's term is multiplied by
  beta = 1 - t (1 - k / (items - 1)), against the overconfidence that comes of
  sampling. t = 0 is plain binary cross-entropy.

  Source: Petrov & Macdonald, arXiv:2308.07192. Their code computes it through
  a transformed logit with clamps, which end the gradient of very low scores.

  Args:
    positive: (...) scores of the targets.
    negative: (..., k) scores of a uniform sample.
    items: how many there are.
    t: 0 to 1; 1 makes the scores those of calibrated probabilities.

  Raises:
    ValueError: if t is out of range.
  """
  _validate.number("t", t, 0, 1)
  count = negative.shape[-1]
  beta = 1 - t * (1 - count / (items - 1))
  wrong = jax.nn.log_sigmoid(-negative).sum(axis=-1)
  return -(beta * jax.nn.log_sigmoid(positive) + wrong) / (count + 1)
