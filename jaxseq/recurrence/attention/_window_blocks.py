"""Blocks of queries and the keys that they see, for `window_attention`."""

import functools
import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.attention import _distance_scores
from jaxseq.recurrence.attention import _fades
from jaxseq.recurrence.attention import hip
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _cotangents
from jaxseq.recurrence.shared import _varying

# Queries per block. Measured on a CPU core with a reach of 1024 and widths of
# 16 to 64 per head: 128 to 512 take the same time, and memory grows with it.
_BLOCK = 256
# For narrow inputs half as many if a block has at least so many scores, which
# are 64 MB in float32.
_SCORES = 2**24
# Maximum number of loops over blocks, and the share of the work below which
# several loops pay for a larger program.
_LOOPS = 4
_WORTH = 0.9


def attend(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  start: jax.Array,
  window: int,
  block_size: int | None = None,
  method: str = "auto",
  whole: bool = False,
  distances: tuple[jax.Array, jax.Array] | None = None,
  select: tuple[hip.Hip, jax.Array] | None = None,
  fading: _fades.Fading | None = None,
) -> jax.Array:
  """Averages (*batch, time, heads, E) by a `method` of `window.METHODS`."""
  # Queries q (*batch, time, heads, D) are at the last places of k and v
  # (*batch, earlier + time, groups, D or E). No query t sees a key before
  # start[t] (*batch, time), which is at most its own; for a kernel each is a
  # key before the first query, the same for all queries, or the first of an
  # episode. `whole`: all of `start` is 0 and no keys come before the queries.
  # Invisible elements are removed by selects, undefined numbers too; an element
  # that sees undefined numbers gives NaN. `distances` are queries like q and
  # (window + 1, heads, D) vectors, whose products are added to those of q and
  # k. `select` is a search for visible keys, and the first elements of the
  # queries' episodes (*batch, time), before all keys if negative. `fading` are
  # the decays of all keys. With one of these, or an E other than D, "auto" is
  # "chunked".
  *batch, time = start.shape
  earlier = k.shape[-3] - time
  rows = math.prod(batch)
  table = None
  if distances is not None:
    # Concatenates both kinds of queries; the gradients of all devices meet.
    table = _varying.vary_as(q, distances[1])
    q = jnp.concatenate([q, distances[0].astype(q.dtype)], axis=-1)
  q, k, v, fading = jax.tree.map(
    lambda x: x.reshape(rows, *x.shape[len(batch) :]), (q, k, v, fading)
  )
  begin = start.reshape(rows, time)
  start = jnp.maximum(begin, earlier + jnp.arange(time) - window)
  search, sight = None, start
  if select is not None:
    # Stacks both numbers of a query.
    search, anchor = select
    sight = jnp.stack([start, anchor.reshape(rows, time)], axis=-1)

  # Replaces numbers that are not finite, since zero times them is not zero; the
  # outputs that see them are set to NaN, as visible elements have no gaps.
  bad = ~(_finite(k) & _finite(v))
  undefined = (_last(bad)[:, earlier:] >= start) | ~_finite(q)
  if fading is not None:
    wide = jnp.result_type(q, jnp.float32)
    fading = jax.tree.map(lambda x: x.astype(wide), fading)
    undefined |= _undefined_fades(fading, start)

  def run(q, k, v, table, fading, begin, sight, *, method, block_size=None):
    if method == "chunked":
      more = block_size, table, search, fading
      return averages(q, k, v, sight, window, *more)
    kernel = registry.find("window", "tpu" if method == "pallas" else "gpu")
    alike = (x.astype(dtype) for x in (q, k, v))
    extras = {"whole": whole, "plain": averages}
    return kernel(method, window, *alike, begin, **extras).astype(q.dtype)

  method = _method(method, k, v, table, search, fading)
  dtype = jnp.result_type(q, k, v)

  def of_finite(q, k, v, table, fading):
    o = choice.by_platform(
      "window",
      dtype,
      (rows, *q.shape[1:], window),
      run,
      *(*map(_clean, (q, k, v)), table),
      *(jax.tree.map(_clean, fading), begin, sight),
      method=method,
      block_size=block_size,
    )
    return (jnp.where(undefined[..., None, None], jnp.nan, o),)

  arguments = q, k, v, table, fading
  reach = functools.partial(_seen, earlier)
  if whole or not contexts.is_guarded():
    (o,) = of_finite(*arguments)
  else:
    (o,) = _cotangents.contained(
      of_finite, reach, (start.shape,), start, *arguments
    )
  return o.reshape(*batch, *o.shape[1:])


def _method(method, k, v, table, search, fading):
  """The method; "chunked" if what is asked for has no other."""
  widths = f"values of width {v.shape[-1]}", f"{k.shape[-1]} as the keys"
  for unfit, got, want in (
    (v.shape[-1] != k.shape[-1], *widths),
    (table is not None, "products with distances", "none"),
    (search is not None, "a search for keys", "none"),
    (fading is not None, "decays", "none"),
  ):
    if unfit and method not in ("auto", "chunked"):
      raise NotImplementedError(support.sentence("window", got, want, method))
    method = "chunked" if unfit else method
  return method


def _seen(earlier, start, undefined):
  """Flags of undefined queries, of the keys and values they see, and of any."""
  # Later queries see no earlier keys: the next undefined query is enough.
  total = earlier + start.shape[1]
  first = jnp.where(undefined, start, total)
  first = lax.cummin(first, axis=1, reverse=True)
  before = jnp.repeat(first[:, :1], earlier, axis=1)
  first = jnp.concatenate([before, first], axis=1)
  keys = first <= jnp.arange(total)
  return undefined, keys, keys, jnp.any(undefined), keys


def _last(flags):
  """Place of the last flagged key at or before each key, or -1."""
  place = jnp.where(flags, jnp.arange(flags.shape[1]), -1)
  return lax.cummax(place, axis=1)


def _undefined_fades(fading, start):
  """Flags of queries that see keys with undefined decays."""
  earlier = fading.decay.shape[1] - start.shape[1]
  # The decay of the first visible key applies only to keys before it.
  undefined = _last(~_finite(fading.decay))[:, earlier:] > start
  if fading.lost is None:
    return undefined
  return undefined | (_last(~_finite(fading.lost))[:, earlier:] >= start)


def averages(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  start: jax.Array,
  window: int,
  block_size: int | None = None,
  table: jax.Array | None = None,
  search: hip.Hip | None = None,
  fading: _fades.Fading | None = None,
) -> jax.Array:
  """Averages of finite numbers, with one batch axis, in blocks of queries."""
  # The backward pass recomputes the weights of a block. `start` excludes keys
  # beyond the window, too. With a table of vectors for distances, their queries
  # follow the features of q. With a search, `start` has another axis, with the
  # first element of the query's episode beside its first key.
  time = q.shape[1]
  earlier = k.shape[1] - time
  if block_size is None:
    block_size = default_size(q, window)
  size = min(time, block_size)
  count = -(-time // size)
  size = -(-time // count)  # Blocks of one size, with little padding.
  outputs = []
  for first, last in _groups(count, size, earlier, window):
    begin, end = first * size, min(last * size, time)
    lowest = max(0, earlier + begin - window)
    near = _Keys(k, v, fading).between(lowest, earlier + end)
    visible = start[:, begin:end] - lowest
    block = q[:, begin:end], near, visible
    group = _group(*block, table, window, size, search)
    outputs.append(group)
  return jnp.concatenate(outputs, axis=1)


class _Keys(NamedTuple):
  """Keys and values with their fades; time is axis 1."""

  k: jax.Array
  v: jax.Array
  fading: _fades.Fading | None

  def between(self, first, last):
    return jax.tree.map(lambda x: x[:, first:last], self)


def default_size(q: jax.Array, window: int) -> int:
  """Returns how many queries (rows, time, heads, D) a block has."""
  rows, _, heads, _ = q.shape
  scores = rows * heads * _BLOCK * (window + _BLOCK)
  many = _contractions.is_narrow(q.dtype) and scores >= _SCORES
  return _BLOCK // 2 if many else _BLOCK


def _groups(count, size, earlier, window):
  """Splits `count` blocks into groups that are worth separate loops."""
  loops = min(count, _LOOPS)
  edges = [count * i // loops for i in range(loops + 1)]
  split = list(zip(edges[:-1], edges[1:]))

  def keys(groups):
    return sum(
      (last - first) * (min(window, earlier + (last - 1) * size) + size)
      for first, last in groups
    )

  whole = [(0, count)]
  return split if keys(split) < _WORTH * keys(whole) else whole


def _group(q, near, start, table, window, size, search):
  """Runs one loop: q [B, T, ...] are the last T elements of the keys."""
  time = q.shape[1]
  earlier = near.k.shape[1] - time
  count = -(-time // size)
  reach = min(window, earlier + (count - 1) * size)
  front, back = max(0, reach - earlier), count * size - time
  near = jax.tree.map(
    lambda x: _pad(x[:, max(0, earlier - reach) :], front, back), near
  )
  # From here on, indices are those of the padded keys.
  start = _pad(start - earlier + reach, 0, back)
  return _blocks(_pad(q, 0, back), near, start, table, size, search)[:, :time]


def _finite(x):
  """Flags [B, T] of elements [B, T, ...] whose numbers are all finite."""
  return jnp.all(jnp.isfinite(x), axis=tuple(range(2, x.ndim)))


@jax.custom_vjp
def _clean(x):
  """Replaces numbers that are not finite by zeros."""
  return jnp.where(jnp.isfinite(x), x, 0)


_clean.defvjp(lambda x: (_clean(x), None), lambda _, g: (g,))


def _pad(x, front, back):
  """Pads time with zeros before and after."""
  if not front and not back:
    return x
  return jnp.pad(x, ((0, 0), (front, back)) + ((0, 0),) * (x.ndim - 2))


def _attend(q, near, table, start, first, search):
  """Attends in a block: q [B, Q, heads, D], k, v [B, reach + Q, groups, D]."""
  k, v, fading = near
  size, keys = q.shape[1], k.shape[1]
  index = jnp.arange(keys)
  place = keys - size + jnp.arange(size)
  start = start - first
  select = None
  if search is not None:
    start, anchor = start[..., 0], start[..., 1]
    options = {"start": start, "anchor": anchor, "query": place}
    select = functools.partial(hip.visible, search, **options)
  visible = index >= start[:, :, None]
  visible &= index <= place[:, None]
  wide = jnp.promote_types(q.dtype, jnp.float32)
  operands = _contractions.operand_dtype(jnp.result_type(q, k, v), wide)
  plain = functools.partial(
    _softmax_attention,
    table=table,
    operands=operands,
    select=select,
    fading=fading,
  )
  # The library computes the softmax of float64 in float32, and in its gradient
  # products of bfloat16 and float32; its values are as wide as its keys, and it
  # stores all scores that are added.
  alike = k.shape[-1] == v.shape[-1] and table is None and search is None
  if operands != jnp.float32 or not alike or fading is not None:
    return plain(q, k, v, visible)
  return lax.platform_dependent(
    q, k, v, visible, cpu=plain, default=_library_attention
  )


def _library_attention(q, k, v, visible):
  return jax.nn.dot_product_attention(q, k, v, mask=visible[:, None])


def _softmax_attention(q, k, v, visible, table, operands, select, fading):
  """Computes `_attend` with plain products, several times as fast on a CPU."""
  rows, size, heads, _ = q.shape
  groups, width, out = *k.shape[2:], q.dtype
  product = functools.partial(_contractions.einsum, operands=operands)
  narrow, scale = operands == jnp.bfloat16, math.sqrt(width)
  if not narrow:
    q = q.astype(operands) / scale
  q, p = q[..., :width], q[..., width:]
  q = q.reshape(rows, size, groups, -1, width)
  grouped = rows, groups, heads // groups * size
  q = q.transpose(0, 2, 3, 1, 4).reshape(*grouped, width)
  scores = product("rgqd,rgdk->rgqk", q, k.transpose(0, 2, 3, 1))
  if table is not None:
    far = _distance_scores.scores(p, table, k.shape[1], operands)
    scores = scores + far.reshape(scores.shape)
  if narrow:
    scores = scores / scale  # Before the product q would be rounded again.
  if fading is not None:
    scores = scores + _fades.bias(fading, size).reshape(scores.shape)
  scores = scores.reshape(rows, groups, heads // groups, size, -1)
  visible = visible[:, None, None] if select is None else select(scores)
  scores = jnp.where(visible, scores, -jnp.inf)
  # Every query sees itself: the maximum is finite.
  top = lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
  weights = jnp.exp(scores - top)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  if narrow:  # One pass over the scores on a GPU.
    weights = weights / total
  flat = weights.reshape(*grouped, -1)
  o = product("rgqk,rgkd->rgqd", flat, v.transpose(0, 2, 1, 3))
  o = o.reshape(*scores.shape[:-1], -1)
  if not narrow:
    o = o / total
  o = o.transpose(0, 3, 1, 2, 4)
  return o.reshape(rows, size, heads, -1).astype(out)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _blocks(q, near, start, table, size, search):
  """Attends in blocks: q [B, n * size, ...], k [B, reach + n * size, ...]."""
  time, keys = q.shape[1], near.k.shape[1]
  if time == size:
    return _attend(q, near, table, start, 0, search)

  def body(out, first):
    block = _slice((q, start), first, size)
    seen = _slice(near, first, keys - time + size)
    o = _attend(block[0], seen, table, block[1], first, search)
    return lax.dynamic_update_slice_in_dim(out, o, first, axis=1), None

  firsts = jnp.arange(0, time, size)
  out = jnp.zeros_like(q, shape=(*q.shape[:-1], near.v.shape[-1]))
  return lax.scan(body, out, firsts)[0]


def _blocks_forward(q, near, start, table, size, search):
  return _blocks(q, near, start, table, size, search), (q, near, start, table)


def _blocks_backward(size, search, residuals, d_o):
  """Cotangents; the carry, from the last block on, sums those of the keys."""
  q, near, start, table = residuals
  time, keys = q.shape[1], near.k.shape[1]
  reach = keys - time

  def body(carry, first):
    late, d_table, dq, d_near = carry
    block = _slice((q, start), first, size)
    seen = _slice(near, first, reach + size)
    _, pull = jax.vjp(
      lambda *args: _attend(*args, block[1], first, search),
      *(block[0], seen, table),
    )
    new, collected, more = pull(
      lax.dynamic_slice_in_dim(d_o, first, size, axis=1)
    )
    d_table = jax.tree.map(lambda x, y: x + y.astype(x.dtype), d_table, more)
    # In the wide dtype: sums over many blocks are rounded at the end.
    collected = jax.tree.map(
      lambda x, y: x.astype(y.dtype).at[:, size:].add(y), collected, late
    )
    dq = lax.dynamic_update_slice_in_dim(dq, new, first, axis=1)
    d_near = jax.tree.map(
      lambda x, y: lax.dynamic_update_slice_in_dim(
        x, y[:, reach:].astype(x.dtype), first + reach, axis=1
      ),
      *(d_near, collected),
    )
    late = jax.tree.map(lambda x: x[:, :reach], collected)
    return (late, d_table, dq, d_near), None

  def wide(x):
    return jnp.zeros_like(x, jnp.promote_types(x.dtype, jnp.float32))

  late = jax.tree.map(lambda x: wide(x[:, :reach]), near)
  d_table = jax.tree.map(wide, table)
  grads = jax.tree.map(jnp.zeros_like, (q, near))
  firsts = jnp.arange(0, time, size)
  (late, d_table, dq, d_near), _ = lax.scan(
    body, (late, d_table, *grads), firsts, reverse=True
  )
  d_near = jax.tree.map(
    lambda x, y: x.at[:, :reach].set(y.astype(x.dtype)), d_near, late
  )
  d_table = jax.tree.map(lambda x, y: x.astype(y.dtype), d_table, table)
  return dq, d_near, None, d_table


_blocks.defvjp(_blocks_forward, _blocks_backward)


def _slice(tree, first, length):
  return jax.tree.map(
    lambda x: lax.dynamic_slice_in_dim(x, first, length, axis=1), tree
  )
