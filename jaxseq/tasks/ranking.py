"""Ranks of what was chosen among candidates, and metrics of them.

    place = ranking.ranks(scores, target, allowed)
    ranking.ndcg(place, 10).mean()

All candidates are ranked, not a sample of them, which would change the order of
methods (Krichene & Rendle, KDD 2020). Candidates with equal scores share what
the places between them are worth: a constant scorer is as good as chance.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _validate


class Ranks(NamedTuple):
  """Places of targets among candidates.

  Attributes:
    higher: (...) float, how many other candidates have a higher score.
    equal: (...) float, how many others have the same.
  """

  higher: jax.Array
  equal: jax.Array

  @property
  def average(self) -> jax.Array:
    """The rank (...) from 1 on, the mean over all orders of equal scores."""
    return 1 + self.higher + self.equal / 2


def ranks(
  scores: jax.Array, target: jax.Array, allowed: jax.Array | None = None
) -> Ranks:
  """Returns the places of targets among all candidates.

    >>> import jax.numpy as jnp
    >>> scores = jnp.array([0.5, 2.0, 0.5, 0.5])
    >>> float(ranks(scores, jnp.array(0)).average)
    3.0

  Args:
    scores: (..., candidates); what is NaN comes last.
    target: (...) integers, which candidate was chosen.
    allowed: (..., candidates) bool, which candidates compete, such as those
      that are not in the history; all if None. The target always does.
  """
  scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
  own = jnp.take_along_axis(scores, target[..., None], axis=-1)
  others = jnp.arange(scores.shape[-1]) != target[..., None]
  if allowed is not None:
    others = others & allowed
  higher = jnp.sum(others & (scores > own), axis=-1)
  equal = jnp.sum(others & (scores == own), axis=-1)
  dtype = scores.dtype
  return Ranks(higher.astype(dtype), equal.astype(dtype))


def hit_rate(place: Ranks, k: int) -> jax.Array:
  """Returns HR@k (...): 1 where the target is among the best k, or 0.

  Of equal scores at the end of the list it is the share of their orders in
  which the target is on it. With one target it is the recall@k, too.

  Args:
    place: of the targets.
    k: length of the list.

  Raises:
    ValueError: if k is below 1.
  """
  _validate.integer("k", k, 1)
  return jnp.clip((k - place.higher) / (place.equal + 1), 0, 1)


def recall(place: Ranks, relevant: jax.Array, k: int) -> jax.Array:
  """Returns recall@k (...): the share of several targets among the best k.

  Args:
    place: (..., targets), ranked among all candidates, other targets included.
    relevant: (..., targets) bool, False of what fills the axis up.
    k: length of the list.
  """
  hits = jnp.where(relevant, hit_rate(place, k), 0).sum(axis=-1)
  return hits / jnp.maximum(relevant.sum(axis=-1), 1)


def ndcg(place: Ranks, k: int) -> jax.Array:
  """Returns NDCG@k (...) of one target: 1 / log2(rank + 1) up to rank k, or 0.

  Of equal scores it is the mean over all their orders.

  Args:
    place: of the targets.
    k: length of the list.

  Raises:
    ValueError: if k is below 1.
  """
  _validate.integer("k", k, 1)
  discounts = 1 / jnp.log2(2 + jnp.arange(k, dtype=place.higher.dtype))
  sums = jnp.concatenate([jnp.zeros(1, discounts.dtype), discounts.cumsum()])

  def up_to(rank):
    return sums[jnp.minimum(rank, k).astype(jnp.int32)]

  first = place.higher
  worth = up_to(first + place.equal + 1) - up_to(first)
  return worth / (place.equal + 1)


def reciprocal_rank(place: Ranks) -> jax.Array:
  """Returns 1 / rank (...) of the average rank; its mean is the MRR."""
  return 1 / place.average
