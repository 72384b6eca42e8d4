"""Sorted documents cut into buckets, and batches into micro-batches.

Both are exact dynamic programmes of FlexSP (Wang et al., arXiv:2412.01523): for
a solver that counts documents per bucket instead of naming them, and for
batches that do not fit into memory at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Buckets(NamedTuple):
  """Documents by rising length, in consecutive buckets.

  Attributes:
    members: for every bucket the indices of its documents, by rising length.
    bounds: (buckets,) int64, the length that stands for each: its longest.
    error: tokens that rounding up to the bounds adds.
  """

  members: list[np.ndarray]
  bounds: np.ndarray
  error: int


def bucket(lengths: Sequence[int], num_buckets: int) -> Buckets:
  """Cuts the sorted documents so that rounding up adds the fewest tokens.

    err[k][q] = min_{j<k} err[j][q-1] + sum_{i=j+1..k} (s_k - s_i)

  FlexSP, equations 15 and 16; O(documents^2 num_buckets).

  Args:
    lengths: (documents,) tokens of each document.
    num_buckets: how many buckets at most; fewer if there are fewer documents.

  Returns:
    The buckets.

  Raises:
    ValueError: if there is no document or `num_buckets` is below 1.
  """
  lengths, order = _sorted(lengths, num_buckets, "num_buckets")
  sums = np.concatenate([[0], np.cumsum(lengths)])

  def costs(k, best):
    j = np.arange(k)
    added = lengths[k - 1] * (k - j) - (sums[k] - sums[:k])
    return best[:k] + added

  cuts, error = _cut(len(lengths), num_buckets, costs)
  members = [order[i:j] for i, j in zip(cuts, cuts[1:])]
  return Buckets(members, lengths[np.array(cuts[1:]) - 1], int(error))


def micro_batches(
  lengths: Sequence[int], num_micro_batches: int
) -> list[np.ndarray]:
  """Cuts the sorted documents so that the largest piece has the fewest tokens.

    DP[k][i] = min_j max(DP[j][i-1], tokens(j+1..k))

  FlexSP, section 5. Documents of similar length come into the same step.

  Args:
    lengths: (documents,) tokens of each document.
    num_micro_batches: how many pieces at most.

  Returns:
    For every piece the indices of its documents, by rising length.

  Raises:
    ValueError: if there is no document or `num_micro_batches` is below 1.
  """
  lengths, order = _sorted(lengths, num_micro_batches, "num_micro_batches")
  sums = np.concatenate([[0], np.cumsum(lengths)])

  def costs(k, best):
    return np.maximum(best[:k], sums[k] - sums[:k])

  cuts, _ = _cut(len(lengths), num_micro_batches, costs)
  return [order[i:j] for i, j in zip(cuts, cuts[1:])]


def _sorted(lengths, pieces, name):
  lengths = np.asarray(lengths, np.int64)
  if lengths.ndim != 1 or not len(lengths):
    raise ValueError(
      f"lengths must be (documents,), at least one; got {lengths.shape}."
    )
  if pieces < 1:
    raise ValueError(f"{name} must be at least 1; got {pieces}.")
  order = np.argsort(lengths, kind="stable")
  return lengths[order], order


def _cut(count, pieces, costs):
  """Cuts 0 .. count into at most `pieces` pieces, none empty.

  `costs(k, best)` are the costs of the first k elements if the last piece
  begins at j, for j = 0 .. k - 1, where best[j] is that of the first j.
  Returns the ends of the pieces with a leading 0, and the cost.
  """
  best = np.full(count + 1, np.inf)
  best[0] = 0
  before = []
  for _ in range(min(pieces, count)):
    after, last = best.copy(), np.full(count + 1, -1)
    for k in range(1, count + 1):
      options = costs(k, best)
      j = int(options.argmin())
      # Where one piece more does not help, there is none.
      if options[j] < after[k]:
        after[k], last[k] = options[j], j
    before.append(last)
    best = after
  cuts = [count]
  for last in reversed(before):
    if last[cuts[0]] >= 0:
      cuts.insert(0, int(last[cuts[0]]))
  return cuts, best[count]
