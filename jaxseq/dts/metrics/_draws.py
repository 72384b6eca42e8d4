"""Batches of codes in which one factor is held, for scores that vote.

They come from a table of codes and factors, or from an encoder that makes codes
for any factors.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from jaxseq import _validate
from jaxseq.dts import _arrays

Encode = Callable[[np.ndarray], np.ndarray]

# Batches that are made at a time, so that 10,000 of them need little memory.
_PIECE = 64


def in_pieces(
  draw: Callable[[np.random.Generator, int, int], tuple[np.ndarray, ...]],
  rng: np.random.Generator,
  totals: Mapping[str, int],
  batch: int,
  least: int = 1,
) -> Iterator[Iterator[tuple[np.ndarray, ...]]]:
  """Yields what `draw` makes for each total, some batches at a time."""
  _validate.integer("batch", batch, least)
  for name, total in totals.items():
    _validate.positive(name, total)
    yield (
      draw(rng, min(_PIECE, total - start), batch)
      for start in range(0, total, _PIECE)
    )


def held_from_table(
  codes: np.ndarray,
  factors: np.ndarray,
  rng: np.random.Generator,
  count: int,
  batch: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Draws codes (V, b, D) with one factor held at a level, and which (V,).

  Factors and levels are equally likely; rows are drawn with replacement.
  """
  held = rng.integers(factors.shape[1], size=count)
  rows = np.empty((count, batch), np.int64)
  for k in range(factors.shape[1]):
    voters = np.flatnonzero(held == k)
    order, starts, counts, _ = _by_level(factors[:, k])
    level = rng.integers(len(counts), size=(len(voters), 1))
    place = rng.integers(counts[level], size=(len(voters), batch))
    rows[voters] = order[starts[level] + place]
  return codes[rows], held


def pairs_from_table(
  codes: np.ndarray,
  factors: np.ndarray,
  rng: np.random.Generator,
  count: int,
  batch: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Draws pairs of codes, (V, b, D) each, and their common factor (V,)."""
  common = rng.integers(factors.shape[1], size=count)
  first = rng.integers(len(codes), size=(count, batch))
  second = np.empty_like(first)
  for k in range(factors.shape[1]):
    voters = np.flatnonzero(common == k)
    order, starts, counts, level = _by_level(factors[:, k])
    level = level[first[voters]]
    second[voters] = order[starts[level] + rng.integers(counts[level])]
  return codes[first], codes[second], common


def held_from_encoder(
  encode: Encode,
  sizes: Sequence[int],
  rng: np.random.Generator,
  count: int,
  batch: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Draws codes (V, b, D) with one factor held at a level, and which (V,)."""
  held = rng.integers(len(sizes), size=count)
  factors = rng.integers(sizes, size=(count, batch, len(sizes)))
  vote = np.arange(count)
  factors[vote, :, held] = factors[vote, 0, held][:, None]
  return _encode(encode, factors), held


def pairs_from_encoder(
  encode: Encode,
  sizes: Sequence[int],
  rng: np.random.Generator,
  count: int,
  batch: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Draws pairs of codes, (V, b, D) each, and their common factor (V,)."""
  common = rng.integers(len(sizes), size=count)
  first, second = rng.integers(sizes, size=(2, count, batch, len(sizes)))
  vote = np.arange(count)
  second[vote, :, common] = first[vote, :, common]
  return _encode(encode, first), _encode(encode, second), common


def check_sizes(sizes: Sequence[int]) -> np.ndarray:
  """Returns numbers of levels as an array (K,), checked."""
  array = np.asarray(sizes)
  if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
    raise _validate.error("sizes", sizes, "a list of integers")
  if (array < 2).any():
    raise _validate.error("sizes", array.tolist(), "at least 2 levels each")
  return array


def _by_level(column: np.ndarray):
  """Returns rows ordered by level, and where each level begins in them."""
  _, level, counts = np.unique(column, return_inverse=True, return_counts=True)
  starts = np.cumsum(counts) - counts
  return np.argsort(level, kind="stable"), starts, counts, level


def _encode(encode: Encode, factors: np.ndarray) -> np.ndarray:
  """Returns codes (V, b, D) of factors (V, b, K)."""
  flat = factors.reshape(-1, factors.shape[-1])
  codes = _arrays.code_array(encode(flat), "what encode returns")
  if len(codes) != len(flat):
    shape, rows = f"shape {codes.shape}", f"{len(flat)} rows, as its argument"
    raise _validate.error("what encode returns", shape, rows)
  return codes.reshape(*factors.shape[:2], -1)
