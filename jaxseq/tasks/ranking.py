"""Ranks of targets among candidates, and metrics of the ranks.

    place = ranking.ranks(scores, target, allowed)
    ranking.ndcg(place, 10).mean()

All candidates are ranked, not a sample of them, which would change the order of
methods (Krichene & Rendle, KDD 2020); `sampled` is for comparisons with tables
that use samples. Candidates with equal scores share the mean value of their
places: a constant scorer is as good as chance.
"""

from typing import Any
from typing import NamedTuple
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate


class Ranks(NamedTuple):
  """Places of targets among candidates.

  Attributes:
    higher: (...) float, number of other candidates with a higher score.
    equal: (...) float, number of other candidates with the same score.
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
    scores: (..., candidates); NaN comes last.
    target: (...) integers, indices of the targets.
    allowed: (..., candidates) bool, candidates that compete, such as those that
      are not in the history; all if None. The target always competes, as is
      usual: a list of allowed candidates may lack it.
  """
  scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
  of_target = jnp.take_along_axis(scores, target[..., None], axis=-1)
  others = jnp.arange(scores.shape[-1]) != target[..., None]
  if allowed is not None:
    others = others & allowed
  higher = jnp.sum(others & (scores > of_target), axis=-1)
  equal = jnp.sum(others & (scores == of_target), axis=-1)
  dtype = scores.dtype
  return Ranks(higher.astype(dtype), equal.astype(dtype))


def hit_rate(place: Ranks, k: int) -> jax.Array:
  """Returns HR@k (...): 1 if the target is among the best k, or 0.

  If scores at the end of the list are equal, it is the share of their orders
  that put the target on the list. With one target it is also the recall@k.

  Args:
    place: ranks of the targets.
    k: length of the list.

  Raises:
    ValueError: if k is below 1.
  """
  validate.integer("k", k, 1)
  return jnp.clip((k - place.higher) / (place.equal + 1), 0, 1)


def recall(place: Ranks, relevant: jax.Array, k: int) -> jax.Array:
  """Returns recall@k (...): the share of several targets among the best k.

  Args:
    place: (..., targets), ranked among all candidates, other targets included.
    relevant: (..., targets) bool, False in the padding.
    k: length of the list.
  """
  hits = jnp.where(relevant, hit_rate(place, k), 0).sum(axis=-1)
  return hits / jnp.maximum(relevant.sum(axis=-1), 1)


def ndcg(place: Ranks, k: int) -> jax.Array:
  """Returns NDCG@k (...) of one target: 1 / log2(rank + 1) up to rank k, or 0.

  For equal scores it is the mean over all their orders.

  Args:
    place: ranks of the targets.
    k: length of the list.

  Raises:
    ValueError: if k is below 1.
  """
  validate.integer("k", k, 1)
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


def sampled(
  key: jax.Array,
  scores: jax.Array,
  target: jax.Array,
  allowed: jax.Array | None = None,
  count: int = 100,
) -> Ranks:
  """Returns the places of targets among sampled candidates, and warns.

  Args:
    key: key of the samples.
    scores: see `ranks`.
    target: see `ranks`.
    allowed: see `ranks`; no other candidate is drawn.
    count: number of sampled candidates, uniform without replacement; all
      allowed ones if they are fewer.
  """
  validate.integer("count", count, 1, scores.shape[-1])
  warnings.warn(
    f"ranks among {count} sampled candidates are no ranks among all: the "
    "metrics are several times as high, and may order methods otherwise "
    "(Krichene & Rendle, KDD 2020).",
    stacklevel=2,
  )
  others = jnp.arange(scores.shape[-1]) != target[..., None]
  others = others if allowed is None else others & allowed
  noise = jax.random.uniform(key, scores.shape)
  noise = jnp.where(others, noise, -1)
  least = jax.lax.top_k(noise, count)[0][..., -1:]
  return ranks(scores, target, others & (noise >= least))


def exposure(best: jax.Array, shown: jax.Array, count: int) -> jax.Array:
  """Returns the number of lists with each candidate, (count,) float32.

  Args:
    best: (n, k) integers, the candidates of each list.
    shown: (n, k) bool, False in the padding of a list.
    count: number of candidates.
  """
  none = jnp.zeros(count, jnp.float32)
  return none.at[best].add(shown.astype(jnp.float32))


def coverage(exposure: jax.Array) -> jax.Array:
  """Returns the share (...) of candidates that are in any list.

  Args:
    exposure: (..., candidates), see `exposure`.
  """
  return jnp.mean(exposure > 0, axis=-1)


def novelty(exposure: jax.Array, users: jax.Array, total: int) -> jax.Array:
  """Returns the mean surprise (...) of listed candidates, in bits.

  The surprise of a candidate is -log2 of the share of users who have it; a
  candidate without users counts as one with one user.

  Args:
    exposure: (..., candidates), see `exposure`.
    users: (candidates,) number of training users who have each candidate.
    total: number of these users.
  """
  surprise = jnp.log2(total) - jnp.log2(jnp.maximum(users, 1))
  return (exposure * surprise).sum(axis=-1) / exposure.sum(axis=-1)


def gini(exposure: jax.Array) -> jax.Array:
  """Returns the Gini coefficient (...) of exposure; 0 if it is uniform.

  Args:
    exposure: (..., candidates), see `exposure`.
  """
  count = exposure.shape[-1]
  order = jnp.sort(exposure, axis=-1)
  weight = 2 * jnp.arange(1, count + 1) - count - 1
  return (order * weight).sum(axis=-1) / (count * order.sum(axis=-1))


def paired(values: np.ndarray, reference: np.ndarray) -> tuple[Any, Any]:
  """Returns the paired difference of a metric between two methods.

  Args:
    values: (seeds, users) of one method.
    reference: (users,) or (seeds, users) of the other.

  Returns:
    The mean differences over users (seeds,), and the standard error of their
    mean, from the users' differences, averaged over seeds. Users differ more
    from one another than methods do, which the pairing removes.
  """
  difference = values - reference
  users = difference.mean(axis=0)
  error = users.std(ddof=1) / np.sqrt(users.size)
  return difference.mean(axis=-1), error
