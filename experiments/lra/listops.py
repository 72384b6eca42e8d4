"""ListOps: the value of a nested list expression.

A tree of depth up to D: a node above depth D is an operator with probability
1/4 and a digit otherwise; an operator is MIN, MAX, MED (the median, rounded
down) or SM (the sum modulo 10) of 2 to 10 nodes. Only trees whose number of
tokens lies strictly between two bounds are kept, without duplicates.

Sources: arXiv 1804.06028; the generator and sizes of arXiv 2011.04006 (Long
Range Arena), whose readers drop the round brackets, as here.
"""

import random
import statistics

import numpy as np

from jaxseq import validate
from jaxseq.data import cache
from jaxseq.data import datasets

# Part of the cache key: raise it when the sets change.
_VERSION = 1

TOKENS = ("<pad>", *map(str, range(10)), "[MIN", "[MAX", "[MED", "[SM", "]")
_IDS = {token: number for number, token in enumerate(TOKENS)}
_MIN, _MAX, _MED, _SM, _CLOSE = (_IDS[token] for token in TOKENS[11:])


def tokenize(expression: str) -> list[int]:
  """Returns the token ids of a printed expression.

  Args:
    expression: tokens separated by blanks; round brackets are left out.

  Returns:
    The ids: positions in `TOKENS`.

  Raises:
    ValueError: naming the words that are not tokens.
  """
  words = [word for word in expression.split() if word not in ("(", ")")]
  unknown = sorted(set(words) - set(TOKENS[1:]))
  if unknown:
    received, expected = " ".join(unknown[:3]), " ".join(TOKENS[1:])
    raise ValueError(f"expression: got {received}, expected {expected}.")
  return [_IDS[word] for word in words]


def _apply(operator, values):
  if operator == _MIN:
    return min(values)
  if operator == _MAX:
    return max(values)
  if operator == _MED:
    return int(statistics.median(values))
  return sum(values) % 10


class _TooLong(Exception):
  """The tree has too many tokens; drawing it stops."""


def _grow(draw, depth, max_depth, limit, ids):
  """Appends a random tree to `ids` and returns its value."""
  if depth >= max_depth or draw() > 0.25:
    digit = int(draw() * 10)
    ids.append(digit + 1)
    return digit
  children = 2 + int(draw() * 9)
  operator = _MIN + int(draw() * 4)
  ids.append(operator)
  values = []
  for _ in range(children):
    values.append(_grow(draw, depth + 1, max_depth, limit, ids))
    if len(ids) >= limit:
      raise _TooLong
  ids.append(_CLOSE)
  return _apply(operator, values)


def _generate(
  seed: int, count: int, max_depth: int, shortest: int, longest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Draws distinct expressions: ids (count, longest - 1), values, lengths."""
  draw = random.Random(seed).random
  inputs = np.zeros((count, longest - 1), np.uint8)
  values = np.zeros(count, np.int32)
  lengths = np.zeros(count, np.int32)
  seen = set()
  row = 0
  while row < count:
    ids = []
    try:
      value = _grow(draw, 1, max_depth, longest, ids)
    except _TooLong:
      continue
    # The closing bracket comes after the last check of the length.
    if not shortest < len(ids) < longest or bytes(ids) in seen:
      continue
    seen.add(bytes(ids))
    inputs[row, : len(ids)] = ids
    values[row] = value
    lengths[row] = len(ids)
    row += 1
  return inputs, values, lengths


_SIZES = {
  # max_depth, shortest, longest, train, valid, test
  "small": (6, 50, 200, 10000, 1000, 1000),
  "full": (10, 500, 2000, 96000, 2000, 2000),
}


def load(
  seed: int = 0,
  size: str = "small",
  train: int | None = None,
  valid: int | None = None,
  test: int | None = None,
  cached: bool = True,
) -> datasets.Splits:
  """Generates ListOps.

  Args:
    seed: seed.
    size: "small": depth up to 6, 51 to 199 tokens, 10000, 1000 and 1000
      expressions; "full": the Long Range Arena's depth up to 10, 501 to 1999
      tokens, 96000, 2000 and 2000 expressions, which takes minutes.
    train: number of training expressions, in place of the size's.
    valid: number of validation expressions, in place of the size's.
    test: number of test expressions, in place of the size's.
    cached: whether to store the generated set on disk, in
      $JAXSEQ_CACHE or ~/.cache/jaxseq.

  Returns:
    The splits: inputs (n, time) uint8 tokens, targets (n,) the values. No
    expression is in two parts. info.baselines["majority"] is the share of the
    commonest test value, a baseline for accuracies.

  Raises:
    ValueError: if an option is out of range.
  """
  validate.choice("size", size, _SIZES)
  max_depth, shortest, longest, *counts = _SIZES[size]
  sizes = (train, valid, test)
  counts = [count if n is None else n for n, count in zip(sizes, counts)]
  validate.all_positive(**dict(zip(("train", "valid", "test"), counts)))

  names = ("inputs", "values", "lengths")

  def make():
    arrays = _generate(seed, sum(counts), max_depth, shortest, longest)
    return dict(zip(names, arrays))

  options = {
    "version": _VERSION,
    "seed": seed,
    "bounds": [max_depth, shortest, longest],
    "count": sum(counts),
  }
  generated = cache.arrays("listops", options, make, enabled=cached)
  whole = datasets.ArrayDataset(*map(generated.get, names))
  parts = datasets.consecutive(whole, counts)
  majority = np.bincount(parts[2].targets).max() / counts[2]
  info = datasets.Info(
    description="A nested list expression; what is its value?",
    source=f"generated as in arXiv 2011.04006, size {size!r}",
    license="none needed",
    num_classes=10,
    vocab_size=len(TOKENS),
    tokens=TOKENS,
    baselines={"majority": float(majority)},
  )
  return datasets.Splits(*parts, info)
