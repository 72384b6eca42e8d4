"""Batches of codes in which one factor is held, for scores that vote.

They come from a table of codes and factors, or from an encoder that makes codes
for any factors. Both draw codes (V, b, D) with one factor held at a level, and
say which (V,); or pairs of them, and their common factor.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq import _validate
from jaxseq.dts import _arrays

# Batches that are made at a time, so that 10,000 of them need little memory.
_PIECE = 64


def in_pieces(
  draw: Callable[[np.random.Generator, int, int], tuple[np.ndarray, ...]],
  rng: np.random.Generator,
  batch: int,
  **totals: int,
) -> Iterator[Iterator[tuple[np.ndarray, ...]]]:
  """Yields what `draw` makes for each total, some batches at a time."""
  _validate.positive("batch", batch)
  for name, total in totals.items():
    _validate.positive(name, total)
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


class Generator(NamedTuple):
  """An encoder of windows with any factors, (m, K) to (m, D), and levels."""

  encode: Callable[[np.ndarray], np.ndarray]
  sizes: np.ndarray

  def held(self, rng, count, batch) -> tuple[np.ndarray, ...]:
    """Draws batches; factors and levels are equally likely."""
    held = rng.integers(len(self.sizes), size=count)
    factors = rng.integers(self.sizes, size=(count, batch, len(self.sizes)))
    vote = np.arange(count)
    factors[vote, :, held] = factors[vote, 0, held][:, None]
    return self.codes(factors), held

  def pairs(self, rng, count, batch) -> tuple[np.ndarray, ...]:
    """Draws pairs; factors and levels are equally likely."""
    common = rng.integers(len(self.sizes), size=count)
    shape = 2, count, batch, len(self.sizes)
    first, second = rng.integers(self.sizes, size=shape)
    vote = np.arange(count)
    second[vote, :, common] = first[vote, :, common]
    return self.codes(first), self.codes(second), common

  def codes(self, factors: np.ndarray) -> np.ndarray:
    """Returns codes (..., D) of factors (..., K), checked."""
    flat = factors.reshape(-1, factors.shape[-1])
    codes = _arrays.code_array(self.encode(flat), "what encode returns")
    if len(codes) != len(flat):
      shape, rows = f"shape {codes.shape}", f"{len(flat)} rows, as its argument"
      raise _validate.error("what encode returns", shape, rows)
    return codes.reshape(*factors.shape[:-1], -1)


def make_generator(encode, sizes: Sequence[int]) -> Generator:
  """Returns a generator; checks its numbers of levels (K,)."""
  array = np.asarray(sizes)
  if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
    raise _validate.error("sizes", sizes, "a list of integers")
  if (array < 2).any():
    raise _validate.error("sizes", array.tolist(), "at least 2 levels each")
  return Generator(encode, array)


def _by_level(column: np.ndarray):
  """Returns rows ordered by level, and where each level begins in them."""
  _, level, counts = np.unique(column, return_inverse=True, return_counts=True)
  starts = np.cumsum(counts) - counts
  return np.argsort(level, kind="stable"), starts, counts, level
