"""Native sparse attention (NSA): block means, selected blocks, and a window.

  o_t = g_1 mean_c(t) + g_2 chosen_t + g_3 window_t

Each term is softmax attention: to the means of complete blocks of keys and
values, to the elements of the blocks with the largest weights in it, and to the
last elements. Yuan et al., "Native sparse attention: hardware-aligned and
natively trainable sparse attention", arXiv:2502.11089, in the form of
flash-linear-attention, whose compressed keys are means and whose three terms
share one set of keys and values.

Blocks are counted from the first element of the episode. A state holds a fixed
number of blocks, and a new block replaces the oldest one.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import validate
from jaxseq.recurrence.attention import _native_sparse_parts as parts
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import chunked

# Queries whose selected keys are in memory together.
_QUERIES = 64


@dataclasses.dataclass(frozen=True)
class NativeSparse:
  """Sizes of native sparse attention; hashable.

  Attributes:
    block_size: elements in a block.
    block_count: blocks that a query selects, at least 3: the first one, its own
      and the one before its own are among them.
    window: number of last elements that are always visible, including the
      query's own; 0 for no such term.
    capacity: elements that the state holds, a multiple of `block_size`. In a
      longer episode a new block replaces the oldest one, and the first block is
      the oldest one in the state.
  """

  block_size: int = 64
  block_count: int = 16
  window: int = 512
  capacity: int = 4096

  def __post_init__(self):
    validate.at_least(self, block_size=1, block_count=3, window=0, capacity=1)
    size, least = self.block_size, self.window + self.block_size - 1
    if self.capacity % size or self.capacity < least:
      expected = f"a multiple of block_size = {size}, and at least {least}"
      raise validate.error("capacity", self.capacity, expected)

  @property
  def kept(self) -> int:
    """Number of blocks that the state holds."""
    return self.capacity // self.block_size


@_serialization.exported("jaxseq.recurrence.NativeSparseState")
class NativeSparseState(NamedTuple):
  """The last elements: element p of the episode is at place p % capacity.

  Attributes:
    keys: (*batch, groups, capacity, d).
    values: (*batch, groups, capacity, dv).
    mean_keys: (*batch, groups, kept, d), of complete blocks, b at b % kept.
    mean_values: (*batch, groups, kept, dv).
    count: (*batch,) elements of the episode so far, in floating point: float32
      counts up to 2^24.
  """

  keys: jax.Array
  values: jax.Array
  mean_keys: jax.Array
  mean_values: jax.Array
  count: jax.Array


def native_sparse_initial(
  sizes: NativeSparse,
  batch: tuple[int, ...],
  groups: int,
  widths: tuple[int, int],
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> NativeSparseState:
  """Returns the state of no elements; widths are d and dv."""
  shapes = [
    (*batch, groups, n, width)
    for n in (sizes.capacity, sizes.kept)
    for width in widths
  ]
  return NativeSparseState(*(jnp.zeros(s, dtype) for s in (*shapes, batch)))


def native_sparse_attention(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  gates: jax.Array,
  sizes: NativeSparse,
  init: NativeSparseState | None = None,
  *,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, NativeSparseState]:
  """Attends over a sequence, to a fixed number of elements and to block means.

  Beyond inputs and outputs, memory is that of 64 queries and their visible
  keys; the gradient recomputes it. The selection of blocks has no gradient, and
  among equal weights the earlier block wins.

  Args:
    q: (*batch, time, heads, d) queries.
    k: (*batch, time, groups, d) keys, each for heads / groups neighboring
      heads, which select their blocks together.
    v: (*batch, time, groups, dv) values.
    gates: (*batch, time, heads, 3) factors of the three terms: means, selected
      blocks, window.
    sizes: sizes of blocks, window and state.
    init: state before the first element; the empty state if None.
    reset: (*batch, time) bool; if true, earlier elements are no longer visible.

  Returns:
    Outputs (*batch, time, heads, dv) in the dtype of v, and the last state.
    Computed in at least float32.

  Raises:
    ValueError: if shapes or dtypes do not fit the above.
  """
  lead, x, widths = _checked(q, k, v, gates, init, ("time",))
  _checks.reset(reset, lead)
  front = 0 if init is None else sizes.capacity
  if init is None:
    groups = v.shape[-2]
    init = native_sparse_initial(sizes, lead[:-1], groups, widths, x[0].dtype)
  init = tuple(leaf.astype(x[0].dtype) for leaf in init)
  chunk = functools.partial(_chunk, sizes, front)
  x = *x[:3], x[3].reshape(*lead, -1)  # So that batch axes end before these.
  o, last = chunked.chunked(chunk, init, x, reset, size=lead[-1])
  return o.astype(v.dtype), NativeSparseState(*last)


def native_sparse_step(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  gates: jax.Array,
  sizes: NativeSparse,
  state: NativeSparseState,
  *,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, NativeSparseState]:
  """Consumes one element, and reads only the keys and values that it sees.

  Arguments and results are those of `native_sparse_attention`, without time.
  """
  batch, x, _ = _checked(q, k, v, gates, state, ())
  dtype = x[0].dtype
  q, k, v, gates = (y.reshape(-1, *y.shape[len(batch) :]) for y in x)
  if reset is not None:
    reset = reset.reshape(-1)
  old = []
  for leaf in state:
    leaf = leaf.reshape(-1, *leaf.shape[len(batch) :]).astype(dtype)
    if reset is not None:
      leaf = jnp.where(jnp.expand_dims(reset, range(1, leaf.ndim)), 0, leaf)
    old.append(leaf)
  keys, values, *means, count = old
  row, newest, size = jnp.arange(len(k)), _whole(count), sizes.block_size
  keys = keys.at[row, :, newest % sizes.capacity].set(k)
  values = values.at[row, :, newest % sizes.capacity].set(v)

  def fetch(blocks):
    places = (newest[:, None, None, None] + blocks) % sizes.capacity
    return parts.slices(keys, places, size), parts.slices(values, places, size)

  query_block = newest // size
  # Its own block has a mean as soon as its last element is there.
  ends = (newest % size == size - 1)[:, None, None]
  place = row, slice(None), query_block % sizes.kept
  begin = -(newest % size)[:, None, None, None]
  for i, x in enumerate(fetch(jnp.broadcast_to(begin, (*k.shape[:2], 1, 1)))):
    mean = jnp.where(ends, jnp.mean(x[:, :, 0, 0], axis=-2), means[i][place])
    means[i] = means[i].at[place].set(mean)
  table = parts.complete(sizes, *means, newest + 1, newest)

  def near():
    back = jnp.arange(1 - sizes.window, 1)
    places = (newest[:, None] + back) % sizes.capacity
    return parts.take(keys, places), parts.take(values, places), back

  q = q.reshape(*k.shape[:2], -1, 1, q.shape[-1])
  gates = gates.reshape(*k.shape[:2], -1, 1, 3)
  first, t = -newest[:, None], jnp.zeros(1, jnp.int32)
  o = parts.attend(sizes, q, gates, t, first, table, fetch, near)
  o = o.reshape(*batch, -1, o.shape[-1]).astype(v.dtype)
  new = keys, values, *means, count + 1
  back = (y.reshape(*batch, *y.shape[1:]) for y in new)
  return o, NativeSparseState(*back)


def _checked(q, k, v, gates, state, time):
  """Leading axes, arrays in at least float32, and the widths d and dv."""
  _checks.floating(q=q, k=k, v=v, gates=gates)
  *lead, heads, d = validate.shape("q", q, ("*lead", *time, "heads", "d"))
  groups, dv = v.shape[-2:]
  validate.shape("k", k, (*lead, groups, d))
  validate.shape("v", v, (*lead, groups, dv))
  validate.shape("gates", gates, (*lead, heads, 3))
  if heads % groups:
    raise validate.error("groups", groups, f"a divisor of {heads} heads")
  dtype = jnp.result_type(q, k, v, gates, *(state or ()), jnp.float32)
  arrays = tuple(x.astype(dtype) for x in (q, k, v, gates))
  return tuple(lead), arrays, (d, dv)


def _chunk(sizes, front, state, x, reset):
  """Attends in a chunk: places count from its first element, below 0 before."""
  q, k, v, gates = x
  *old, elements = state
  rows, time, groups, d = k.shape
  count, index = _whole(elements), jnp.arange(time, dtype=jnp.int32)
  first, alive = _episodes(count, index, reset)

  # All elements in order, padded for windows before and blocks after them.
  size, queries = sizes.block_size, min(_QUERIES, time)
  padded = -(-time // queries) * queries
  room = max(front, sizes.window - 1)

  def ordered(cache, x):
    x = jnp.moveaxis(x, 1, 2)
    pad = room - front, padded - time + size
    x = jnp.pad(x, ((0, 0), (0, 0), pad, (0, 0)))
    if not front:
      return x
    places = (count[:, None] + jnp.arange(front)) % front
    return jnp.concatenate([parts.take(cache, places), x], axis=2)

  keys, values = ordered(old[0], k), ordered(old[1], v)

  def fetch(blocks):
    places = room + jnp.minimum(blocks, time)
    return parts.slices(keys, places, size), parts.slices(values, places, size)

  last = (index - first) % size == size - 1
  ends = jnp.sort(jnp.where(last, index, parts.FAR), axis=1)
  starts = ends[:, : -(-time // size)] - (size - 1)
  shape = rows, groups, 1, starts.shape[1]
  new = fetch(jnp.broadcast_to(starts[:, None, None], shape))
  table = starts, *(jnp.mean(x[:, :, 0], axis=-2) for x in new)
  if front:
    before = parts.complete(sizes, *old[2:], count, count)
    table = tuple(map(jnp.concatenate, zip(before, table), (1, 2, 2)))

  @jax.checkpoint
  def block(elements):
    q, gates, first, begin = elements
    q, gates = (
      jnp.moveaxis(x.reshape(rows, queries, groups, -1, n), 1, 3)
      for x, n in ((q, d), (gates, 3))
    )
    t = begin + jnp.arange(queries, dtype=jnp.int32)

    def near():
      first, count = begin - sizes.window + 1, queries + sizes.window - 1
      cut = functools.partial(
        lax.dynamic_slice_in_dim, slice_size=count, axis=2
      )
      window = (cut(x, room + first) for x in (keys, values))
      return *window, first + jnp.arange(count)

    return parts.attend(sizes, q, gates, t, first, table, fetch, near)

  begins = jnp.arange(0, padded, queries, dtype=jnp.int32)
  split = (_in_blocks(x, queries) for x in (q, gates, first))
  o = lax.map(block, (*split, begins))
  # (blocks, rows, groups, heads of a group, queries, dv)
  o = jnp.moveaxis(o, (1, 0, 4), (0, 1, 2))
  o = o.reshape(rows, padded, -1, v.shape[-1])

  # Back to the places of the state, which holds only the last episode.
  count = time - first[:, -1:]

  complete = jnp.sum(starts < time, axis=1, keepdims=True) - 1
  complete += table[0].shape[1] - starts.shape[1]
  numbers = [count] * 2 + [count // size] * 2
  ends = [room + time - 1] * 2 + [complete] * 2
  newest = functools.partial(_newest, alive)
  state = map(newest, (keys, values, *table[1:]), old, numbers, ends)
  elements = jnp.where(alive, elements, 0)
  elements += time - jnp.maximum(first[:, -1], 0).astype(elements.dtype)
  return (*state, elements), o[:, :time]


def _episodes(count, index, reset):
  """First places (rows, time) of episodes, and rows in that of the state."""
  first = jnp.broadcast_to(-count[:, None], (len(count), len(index)))
  if reset is None:
    return first, jnp.ones(len(count), bool)
  begin = lax.cummax(jnp.where(reset, index, -1), axis=1)
  return jnp.where(begin < 0, first, begin), begin[:, -1] < 0


def _in_blocks(x, queries):
  """(rows, time, ...), padded, as (blocks of queries, rows, queries, ...)."""
  pad = [(0, 0), (0, -x.shape[1] % queries)] + [(0, 0)] * (x.ndim - 2)
  x = jnp.pad(x, pad)
  return jnp.moveaxis(x.reshape(len(x), -1, queries, *x.shape[2:]), 1, 0)


def _newest(alive, x, cache, number, begin):
  """The last `number` elements, the newest of which is at `begin` of x."""
  many = cache.shape[2]
  back = (number - 1 - jnp.arange(many)) % many
  x = parts.take(x, jnp.maximum(begin - back, 0))
  kept = jnp.where(alive[:, None, None, None], cache, 0)
  return jnp.where((back < number)[:, None, :, None], x, kept)


def _whole(count):
  """Rounds a count to an integer."""
  return jnp.round(lax.stop_gradient(count)).astype(jnp.int32)
