"""Sum tree for sampling slots in proportion to priorities, up to millions.

A running sum over a million float32 numbers has an error larger than its
smaller terms, and a float32 uniform has only a handful of values per term. So
sums and uniforms are pairs of floats here, `Double`, which represent their sum
(Dekker, "A floating-point technique for extending the available precision",
1971); two float32 give 48 bits. Priorities are stored in rows of about the
square root of their count, with the sum of each row: setting one recomputes the
sum of its row, so that errors do not accumulate, and sampling a slot searches
for a row, and then in it.

This is proportional prioritization, Schaul et al., "Prioritized Experience
Replay", arXiv:1511.05952, section 3.3. Everything can be jitted and vmapped.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate

Array = jax.Array


class Double(NamedTuple):
  """A number as the sum of two floats; `low` is far smaller."""

  high: Array
  low: Array


class Priorities(NamedTuple):
  """Priorities of the slots 0, 1, ..., slot i in row i // width.

  There may be more slots than requested, with priority 0.
  """

  rows: Array  # (rows, width) floating, at least 0
  sums: Double  # (rows,) twice, the sum of each row
  highest: Array  # (), the highest value ever, and at least 1


def init(value: Array) -> Priorities:
  """Builds priorities from values (slots,) floating, finite and at least 0."""
  value = jnp.asarray(value)
  if value.ndim != 1 or not value.size or value.dtype.kind != "f":
    raise validate.error(
      "value",
      f"shape {value.shape} of {value.dtype}",
      "a floating vector that is not empty",
    )
  width = 2 ** round(math.log2(value.size) / 2)
  rows = jnp.pad(value, (0, -value.size % width)).reshape(-1, width)
  return Priorities(rows, _total(rows), jnp.maximum(rows.max(), 1))


def get(priorities: Priorities, slot: Array) -> Array:
  """Returns the priorities of slots, of the shape of `slot`."""
  width = priorities.rows.shape[1]
  return priorities.rows[slot // width, slot % width]


def put(priorities: Priorities, slot: Array, value: Array) -> Priorities:
  """Sets priorities (n,); for repeated slots the first value counts."""
  rows, sums, highest = priorities
  value = jnp.asarray(value, rows.dtype)
  highest = jnp.maximum(highest, value.max())
  # All writes to a slot have the same value, as their order is undefined.
  value = value[jnp.argmax(slot[:, None] == slot[None, :], axis=1)]
  row, column = slot // rows.shape[1], slot % rows.shape[1]
  rows = rows.at[row, column].set(value)
  new = _total(rows[row])
  sums = Double(sums.high.at[row].set(new.high), sums.low.at[row].set(new.low))
  return Priorities(rows, sums, highest)


def draw(key: Array, number: int, dtype: str = "float32") -> Double:
  """Draws uniforms from [0, 1), with twice the bits of one float: (number,)."""
  high, low = jax.random.uniform(key, (2, number), dtype)
  # The upper part is a multiple of the machine epsilon.
  return Double(high, low * jnp.finfo(dtype).eps)


def sample(priorities: Priorities, uniform: Double | Array) -> Array:
  """Finds the slots at which the running sum reaches shares of the total.

  Takes priorities, at least one of which must be above 0, and shares (n,) in
  [0, 1], and returns (n,) int32: the first slot, of those with a priority above
  0, at which the running sum reaches the share of the total. With random
  uniforms, slots are sampled in proportion to their priority.
  """
  rows, sums, _ = priorities
  if not isinstance(uniform, Double):
    uniform = _double(jnp.asarray(uniform, rows.dtype))
  upto = _running(sums)
  wanted = _times(uniform, Double(upto.high[-1], upto.low[-1]))
  row = _first_reaching(upto, sums.high > 0, wanted)
  # Subtract the running sum before the row.
  place = jnp.maximum(row - 1, 0)
  wanted = _add(
    wanted, Double(*(jnp.where(row > 0, -part[place], 0) for part in upto))
  )
  row_sums = rows[row]
  upto = _running(_double(row_sums))
  column = _first_reaching(upto, row_sums > 0, wanted)
  return row * rows.shape[1] + column


def _first_reaching(upto, positive, wanted):
  """Returns the first places of the last axis that reach the wanted sums."""
  high, low = wanted.high[:, None], wanted.low[:, None]
  reached = (upto.high > high) | ((upto.high == high) & (upto.low >= low))
  reached &= positive
  # If rounding leaves no such place, the last positive one counts.
  from_end = jnp.argmax(jnp.flip(positive, -1), axis=-1)
  last = upto.high.shape[-1] - 1 - from_end
  first = jnp.argmax(reached, axis=-1)
  return jnp.where(reached.any(axis=-1), first, last).astype(jnp.int32)


def _running(x):
  """Returns cumulative sums along the last axis."""
  return jax.lax.associative_scan(_add, x, axis=-1)


def _total(x):
  """Sums the last axis, whose length is a power of 2."""
  total = _double(x)
  while total.high.shape[-1] > 1:
    half = total.high.shape[-1] // 2
    total = _add(
      Double(*(part[..., :half] for part in total)),
      Double(*(part[..., half:] for part in total)),
    )
  return Double(*(part[..., 0] for part in total))


def _double(x):
  return Double(x, jnp.zeros_like(x))


# A compiler may fuse a product and a sum without rounding the product. So the
# exact sums below have no products as terms, or only exact ones.


def _exact_sum(a, b):
  """Returns a + b, and its rounding error (Knuth)."""
  total = a + b
  part = total - a
  return Double(total, (a - (total - part)) + (b - part))


def _add(x, y):
  """Returns the sum of two doubles."""
  total = _exact_sum(x.high, y.high)
  return _exact_sum(total.high, total.low + (x.low + y.low))


def _times(x, y):
  """Returns the product of two doubles."""
  x1, x2 = _halves(x.high)
  y1, y2 = _halves(y.high)
  product = _add(_exact_sum(x1 * y1, x1 * y2), _exact_sum(x2 * y1, x2 * y2))
  rest = x.high * y.low + x.low * y.high
  return _exact_sum(product.high, product.low + rest)


def _halves(x):
  """Splits a float into two with half of its significant bits each."""
  bits = jnp.finfo(x.dtype).bits
  integer = jnp.dtype(f"uint{bits}")
  dropped = (jnp.finfo(x.dtype).nmant + 1) // 2
  mask = np.array(2**bits - 2**dropped, integer)
  whole = jax.lax.bitcast_convert_type(x, integer)
  high = jax.lax.bitcast_convert_type(whole & mask, x.dtype)
  return high, x - high
