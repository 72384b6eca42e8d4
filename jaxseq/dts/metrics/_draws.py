"""Batches of codes in which one factor is held, for scores that vote.

They come from a table of codes and factors, or from an encoder that makes codes
for any factors.
"""

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from jaxseq.dts.metrics import _arrays

Encode = Callable[[np.ndarray], np.ndarray]


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
    raise ValueError(f"sizes: got {sizes!r}, expected a list of integers.")
  if (array < 2).any():
    raise ValueError(f"sizes: got {array.tolist()}, expected at least 2.")
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
    raise ValueError(
      f"what encode returns: got shape {codes.shape}, expected {len(flat)} "
      "rows, as its argument."
    )
  return codes.reshape(*factors.shape[:2], -1)
