"""Recommendation baselines without training, for networks to beat.

    scorer = item_baselines.ease(item_baselines.histories(splits, "test"))
    scores = scorer(items, lengths)

A scorer takes histories (n, time) of items, counted from 1 and padded with 0,
and their lengths (n,), and returns the scores (n, items) of all items.
"""

from collections.abc import Callable
import importlib
import importlib.util
from typing import NamedTuple

from absl import logging
import numpy as np
from scipy import sparse

from jaxseq import data

Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Maximum number of items for dense (items, items) matrices.
DENSE = 8_192


class Histories(NamedTuple):
  """The items that users took before the predicted ones.

  Attributes:
    has: sparse (users, items) float64, 1 if a user has an item.
    counts: (items,) float64, how often each item was taken.
    follows: sparse (items, items) float64, how often one came after another.
  """

  has: sparse.csr_array
  counts: np.ndarray
  follows: sparse.csr_array


def histories(splits: data.Splits, part: str) -> Histories:
  """Returns the interactions that are known when a part is predicted.

  For users of the part these are all before the predicted ones; for others,
  their training interactions.

  Args:
    splits: data as from `data.sources.interactions.make_splits`.
    part: "train", "valid" or "test".
  """
  count = splits.info.vocab_size - 1
  parts = [splits.train]
  if part != "train":
    later = getattr(splits, part)
    others = ~np.isin(splits.train.extras.user, later.extras.user)
    following = np.pad(later.inputs[:, 1:], ((0, 0), (0, 1)))
    later = later._replace(targets=following, lengths=later.lengths - 1)
    parts = [data.take(splits.train, others), later]
  steps, begins = [], []
  for inputs, targets, lengths, extras in parts:
    inside = np.arange(inputs.shape[1]) < lengths[:, None]
    users = np.repeat(extras.user, lengths)
    steps.append([users, inputs[inside] - 1, targets[inside] - 1])
    # Chunks of a user are adjacent, the oldest last.
    oldest = np.diff(extras.user, append=-1) != 0
    begins.append([extras.user[oldest], inputs[oldest, 0] - 1])
  user, before, after = np.concatenate(steps, axis=1)
  follows = np.ones(len(user)), (before, after)
  first_user, first = np.concatenate(begins, axis=1)
  user, item = np.append(first_user, user), np.append(first, after)
  shape = int(user.max()) + 1, count
  has = sparse.csr_array((np.ones(len(user)), (user, item)), shape)
  has.data[:] = 1
  return Histories(
    has[np.unique(user)],
    np.bincount(item, minlength=count).astype(float),
    sparse.csr_array(follows, (count, count)),
  )


def popular(known: Histories) -> Scorer:
  """Returns the scorer by item counts."""
  return lambda items, lengths: np.tile(known.counts, (len(items), 1))


def markov(known: Histories) -> Scorer:
  """Returns the scorer by successors of the last item; ties by `popular`."""
  ties = 0.5 * known.counts / max(known.counts.max(), 1)

  def score(items, lengths):
    last = items[np.arange(len(items)), lengths - 1] - 1
    return known.follows[last].toarray() + ties

  return score


def neighbors(known: Histories, decay: float = 1.0) -> Scorer:
  """Returns the scorer by cosine similarity to the history (item-kNN).

  Args:
    known: the interactions.
    decay: weight of an item relative to the one after it.
  """
  together = sparse.csr_array(known.has.T @ known.has)
  norms = np.sqrt(np.maximum(together.diagonal(), 1))
  scale = sparse.diags_array(1 / norms)
  cosine = sparse.csr_array(scale @ together @ scale)
  cosine.setdiag(0)
  return lambda items, lengths: (
    _weights(items, lengths, len(norms), decay) @ cosine
  ).toarray()


def ease_inverse(has: sparse.csr_array, regularization: float) -> np.ndarray:
  """Returns the inverse (items, items) of X^T X + regularization."""
  gram = (has.T @ has).toarray()
  gram[np.diag_indices_from(gram)] += regularization
  return np.linalg.inv(gram)


def ease_weights(inverse: np.ndarray) -> np.ndarray:
  """Returns the weights (items, items) of EASE, with a zero diagonal.

  Source: Steck, arXiv:1905.03375. Each column is the least-squares regression
  of an item on all others.

  Args:
    inverse: see `ease_inverse`.
  """
  weights = inverse / -np.diag(inverse)
  np.fill_diagonal(weights, 0)
  return weights


def ease_with_user(inverse: np.ndarray, row: np.ndarray) -> np.ndarray:
  """Returns `ease_inverse` with one more user, in O(items^2).

  Args:
    inverse: inverse without the user.
    row: (items,) 1 if the user has an item.
  """
  change = inverse @ row
  return inverse - np.outer(change, change) / (1 + row @ change)


def ease(
  known: Histories, decay: float = 0.95, *, inverse: np.ndarray | None = None
) -> Scorer:
  """Returns the scorer of EASE, linear in a history weighted by recency.

  Args:
    known: the interactions.
    decay: see `neighbors`; 1 is EASE as published.
    inverse: `ease_inverse` of the interactions; computed with 500 if None.
  """
  if inverse is None:
    inverse = ease_inverse(known.has, 500.0)
  weights = ease_weights(inverse)
  return lambda items, lengths: (
    _weights(items, lengths, len(weights), decay) @ weights
  )


def factors(known: Histories) -> Scorer | None:
  """Returns the scorer of 64 factors by alternating least squares (ALS).

  Source: Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback
  datasets" (ICDM 2008), by the package implicit with its defaults. A history
  gets its least-squares factors.

  Returns:
    The scorer; None, and a warning in the log, if the package is missing.
  """
  if importlib.util.find_spec("implicit") is None:
    logging.warning(
      "implicit: got no such package, expected it for ALS in the table. "
      "Install it with pip install implicit."
    )
    return None
  als = importlib.import_module("implicit.als")
  model = als.AlternatingLeastSquares(factors=64, random_state=0, use_gpu=False)
  has = sparse.csr_matrix(known.has, dtype=np.float32)
  model.fit(has, show_progress=False)

  def score(items, lengths):
    rows = _weights(items, lengths, len(known.counts), 1.0)
    rows = sparse.csr_matrix(rows, dtype=np.float32)
    rows.data[:] = 1
    users = model.recalculate_user(np.arange(len(items)), rows)
    return users @ model.item_factors.T

  return score


def _weights(items, lengths, count, decay):
  """Histories as a sparse matrix (n, items) of decay ** age."""
  age = lengths[:, None] - 1 - np.arange(items.shape[1])
  user, place = np.nonzero(age >= 0)
  value = decay ** age[user, place].astype(float)
  shape = len(items), count
  return sparse.csr_array((value, (user, items[user, place] - 1)), shape)
