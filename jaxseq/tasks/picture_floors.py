"""Likelihoods of pictures by counting, which networks have to be better than.

Counts of training pictures: of all symbols, of those at a place, and at a place
beside the symbols to its left and above.
"""

import math

import numpy as np

from jaxseq.nn import picture_network

# How many pictures the mean of two coarser distributions counts for.
_STRENGTH = 16.0
# Entries of a table of counts at most.
_LARGEST = 2**24


def floors(
  train: np.ndarray,
  test: np.ndarray,
  count: int,
  grid: tuple[int, int] | None = None,
) -> dict[str, dict[str, float]]:
  """Returns "test_loss" (nats of a picture) and "bits" (of a symbol), by label.

  Args:
    train: (n, time) integers below `count`, to count.
    test: (m, time) integers.
    count: of symbols.
    grid: rows and columns, where symbols have neighbours.
  """
  time = train.shape[1]
  # Every symbol once more, so that none is impossible.
  whole = np.bincount(train.ravel(), minlength=count) + 1.0
  whole /= whole.sum()
  place = np.zeros((time, count))
  for at in range(time):
    place[at] = np.bincount(train[:, at], minlength=count) + whole
  place /= place.sum(axis=-1, keepdims=True)
  here = np.arange(time)
  rows = {
    "histogram": np.broadcast_to(whole, (time, count))[here, test],
    "histogram of each place": place[here, test],
  }
  contexts = (count + 1) ** 2
  if grid is not None and time * contexts * count <= _LARGEST:
    table = picture_network.neighbors(grid, 1)
    # Of what is read the first is to the left and the third above.
    known = [
      (count + 1) * _symbols(x, table[:, 0], count)
      + _symbols(x, table[:, 2], count)
      for x in (train, test)
    ]
    beside = np.zeros((contexts, count)) + whole
    np.add.at(beside, (known[0], train), 1)
    beside /= beside.sum(axis=-1, keepdims=True)
    both = np.zeros((time, contexts, count))
    np.add.at(both, (here, known[0], train), 1)
    # Few pictures have the same neighbours at the same place.
    both += _STRENGTH * (place[:, None] + beside) / 2
    both /= both.sum(axis=-1, keepdims=True)
    rows["place, left and above"] = both[here, known[1], test]
  losses = {
    name: float(-np.log(values).sum(axis=1).mean())
    for name, values in rows.items()
  }
  return {
    name: {"test_loss": loss, "bits": loss / time / math.log(2)}
    for name, loss in losses.items()
  }


def _symbols(x, places, count):
  """Symbols (n, time) at other places; `count` outside of the picture."""
  outside = np.full((len(x), 1), count, x.dtype)
  return np.concatenate([x, outside], axis=1)[:, places]
