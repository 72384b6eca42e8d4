"""Measurements on accelerators: the fastest method by operation and shape.

`python -m benchmarks.accelerators --tune` prints such rows. There are no
measurements yet: "auto" chooses no kernel.
"""

from collections.abc import Mapping
import math
from typing import Any
from typing import NamedTuple


class Row(NamedTuple):
  """One measurement.

  Attributes:
    op: "linear", "lti", ..., as in `choice.choose`.
    chip: as `contexts.machine` gives it.
    dtype: name of the inputs' dtype.
    shape: as in `choice.choose`.
    method: the fastest, forward and gradient together.
    options: of the method: `chunk_size`, or a kernel's `tile` and `stages`.
    ms: milliseconds of the gradient.
    share: of the chip's limit for it, at most 1.
    jax: version.
    date: year, month and day.
  """

  op: str
  chip: str
  dtype: str
  shape: tuple[int, ...]
  method: str
  options: Mapping[str, Any]
  ms: float
  share: float
  jax: str
  date: str


ROWS: tuple[Row, ...] = ()
# Recurrences whose kernels hold matrices on the chip: the measured sizes fit it
# with the gradient, which may need more than the forward pass.
_FITTING = ("gated", "outer", "outer_per_channel")


def find(
  op: str,
  chip: str | None,
  dtype: str,
  shape: tuple[int, ...],
  rows: tuple[Row, ...] | None = None,
) -> Row | None:
  """Returns the row whose measured shape is nearest to a shape.

  Args:
    op: as in `Row`.
    chip: as in `Row`; None has no rows.
    dtype: as in `Row`.
    shape: as in `Row`.
    rows: to search; `ROWS` if None.

  Returns:
    The row, or None if no row is within a factor of two in every axis. Kernels
    that hold matrices on the chip are used for no more features than were
    measured.
  """
  best, nearest = None, math.inf
  for row in ROWS if rows is None else rows:
    if (row.op, row.chip, row.dtype) != (op, chip, dtype):
      continue
    if row.method == "pallas" and op in _FITTING:
      # After rows, time and heads come features.
      if any(x > y for x, y in zip(shape[3:], row.shape[3:])):
        continue
    ratios = [
      abs(math.log2(max(1, x) / max(1, y))) for x, y in zip(shape, row.shape)
    ]
    if max(ratios) <= 1 and sum(ratios) < nearest:
      best, nearest = row, sum(ratios)
  return best
