"""Batches of codes in which one factor is held, for scores that vote.

They come from a table of codes and factors: codes (V, b, D) with one factor
held at a level, and which (V,); or pairs of them, and their common factor.
"""

from collections.abc import Callable
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxseq import validate

# Batches that are made at a time, so that 10,000 of them need little memory.
_PIECE = 64


def in_pieces(
  draw: Callable[[np.random.Generator, int, int], tuple[np.ndarray, ...]],
  rng: np.random.Generator,
  batch: int,
  **totals: int,
) -> Iterator[Iterator[tuple[np.ndarray, ...]]]:
  """Yields what `draw` makes for each total, some batches at a time."""
  validate.positive("batch", batch)
  for name, total in totals.items():
    validate.positive(name, total)
    yield (
      draw(rng, min(_PIECE, total - start), batch)
      for start in range(0, total, _PIECE)
    )


class Table(NamedTuple):
  """Codes (n, D) and factors (n, K); rows are drawn with replacement."""

  codes: np.ndarray
  factors: np.ndarray

  def held(self, rng, count, batch) -> tuple[np.ndarray, ...]:
    """Draws batches; factors and levels are equally likely."""
    held = rng.integers(self.factors.shape[1], size=count)
    rows = np.empty((count, batch), np.int64)
    for k, column in enumerate(self.factors.T):
      voters = np.flatnonzero(held == k)
      order, starts, counts, _ = _by_level(column)
      level = rng.integers(len(counts), size=(len(voters), 1))
      place = rng.integers(counts[level], size=(len(voters), batch))
      rows[voters] = order[starts[level] + place]
    return self.codes[rows], held

  def pairs(self, rng, count, batch) -> tuple[np.ndarray, ...]:
    """Draws pairs; factors and rows are equally likely."""
    common = rng.integers(self.factors.shape[1], size=count)
    first = rng.integers(len(self.codes), size=(count, batch))
    second = np.empty_like(first)
    for k, column in enumerate(self.factors.T):
      voters = np.flatnonzero(common == k)
      order, starts, counts, level = _by_level(column)
      level = level[first[voters]]
      second[voters] = order[starts[level] + rng.integers(counts[level])]
    return self.codes[first], self.codes[second], common


def _by_level(column: np.ndarray):
  """Returns rows ordered by level, and where each level begins in them."""
  _, level, counts = np.unique(column, return_inverse=True, return_counts=True)
  starts = np.cumsum(counts) - counts
  return np.argsort(level, kind="stable"), starts, counts, level
