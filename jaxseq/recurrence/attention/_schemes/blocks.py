"""Running averages (m, u, w) of some queries over a block of keys."""

import functools
import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.attention._schemes import layout as layouts
from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _cotangents
from jaxseq.recurrence.shared import _prefix

SoftmaxState = _softmax_state.SoftmaxState

# Queries per tile: the memory for scores grows with it.
_TILE = 128


class Sight(NamedTuple):
  """Positions and segments that hide keys from queries; None hides no key."""

  q: jax.Array | None  # (queries,) int positions
  k: jax.Array | None  # (keys,)
  q_segments: jax.Array | None  # (*batch, queries) int32
  k_segments: jax.Array | None  # (*batch, keys)

  def visible(self) -> jax.Array | None:
    """([*batch,] queries, keys) bool; None if all keys are visible."""
    result = None
    if self.q is not None:
      result = self.q[:, None] >= self.k
    if self.q_segments is not None:
      same = self.q_segments[..., None] == self.k_segments[..., None, :]
      result = same if result is None else result & same
    return result


class Mask(NamedTuple):
  """Visibility of keys over a whole split sequence."""

  layout: layouts.Layout
  causal: bool
  # (devices, *batch, time) int32: every element's segment; None if all are one.
  segments: jax.Array | None

  def sight(self, i, j, part=None, other=None) -> Sight:
    """Sight of queries of device i, or a part, on keys of j, or a part."""
    places = segments = None, None
    if self.causal:
      places = self._cut(self.layout.positions, i, j, part, other)
    if self.segments is not None:
      segments = self._cut(self.segments.__getitem__, i, j, part, other)
    return Sight(*places, *segments)

  def _cut(self, of, i, j, part, other):
    return tuple(
      of(device) if index is None else self.layout.part(of(device), index, -1)
      for device, index in ((i, part), (j, other))
    )


class Problem(NamedTuple):
  """Checked arguments of a scheme."""

  q: jax.Array  # (*batch, heads, time, d), finite
  k: jax.Array  # (*batch, groups, time, d)
  v: jax.Array  # (*batch, groups, time, e)
  mask: Mask
  undefined: jax.Array  # (*batch, heads, time) bool: q was not finite
  nothing: SoftmaxState  # empty averages, in the dtype to compute in
  init: SoftmaxState | None  # averages that the queries already have
  dtype: jnp.dtype  # of the outputs


def prepare(q, k, v, axis, causal, reset, init, order) -> Problem:
  """Checks the arguments of `softmax_attention`, which describes them."""
  q, k, v = jnp.asarray(q), jnp.asarray(k), jnp.asarray(v)
  _check(q, k, v, reset, init)
  out = q.dtype
  layout = layouts.make(order, axis, q.shape[-2])
  segments = None if reset is None else _segments(reset, axis, layout)
  if axis is not None:
    q, k, v, segments = _prefix.vary(axis, q, k, v, segments)
  dtype = jnp.promote_types(jnp.result_type(q, k, v), jnp.float32)
  like = jnp.zeros_like(q[..., 0], dtype=dtype)
  w = jnp.broadcast_to(like[..., None], (*like.shape, v.shape[-1]))
  nothing = SoftmaxState(like + _softmax_state.NEG, like, w)
  mask, finite = Mask(layout, causal, segments), jnp.isfinite(q)
  undefined = ~jnp.all(finite, axis=-1)
  q = jnp.where(finite, q, 0)
  return Problem(q, k, v, mask, undefined, nothing, init, out)


def finish(problem: Problem, state: SoftmaxState) -> jax.Array:
  """The averages, merged with the initial ones of the queries."""
  if problem.init is not None:
    wide = state.w.dtype
    init = SoftmaxState(*(jnp.asarray(x).astype(wide) for x in problem.init))
    state = _softmax_state.softmax_combine(init, state)
  o = _softmax_state.divide(state.w, state.u[..., None])
  o = jnp.where(problem.undefined[..., None], jnp.nan, o)
  return o.astype(problem.dtype)


def attend(q, k, v, sight: Sight, m: jax.Array | None = None) -> SoftmaxState:
  """Attention to one block of keys, in tiles of queries."""
  # If there are many queries, their weights and masks are never stored for all
  # of them, and the gradient recomputes both. Invisible elements are removed by
  # selects, undefined numbers too. Scores are relative to m (*batch, heads,
  # queries), a constant to gradients as it cancels, or to their maximum.
  time = q.shape[-2]
  size = _tile_size(time)
  if size == time:
    return _attend_tile(q, k, v, sight, m)

  def split(x, axis):
    if x is None:
      return None
    axis %= x.ndim
    shape = (*x.shape[:axis], time // size, size, *x.shape[axis + 1 :])
    return jnp.moveaxis(x.reshape(shape), axis, 0)

  @jax.checkpoint
  def tile(element):
    q, (places, segments), m = element
    part = sight._replace(q=places, q_segments=segments)
    return _attend_tile(q, k, v, part, m)

  query_places = split(sight.q, -1), split(sight.q_segments, -1)
  state = lax.map(tile, (split(q, -2), query_places, split(m, -1)))
  flat = q.shape[:-1]
  m, u = (jnp.moveaxis(x, 0, -2).reshape(flat) for x in state[:2])
  return SoftmaxState(m, u, jnp.moveaxis(state.w, 0, -3).reshape(*flat, -1))


def _tile_size(time):
  """The largest divisor up to `_TILE`; all of time if that is very small."""
  size = next(n for n in range(min(_TILE, time), 0, -1) if time % n == 0)
  return size if 8 * size >= min(_TILE, time) else time


def _attend_tile(q, k, v, sight, m):
  visible = sight.visible()
  s = scores(q, k, visible)
  if m is None:
    m = jnp.max(s, axis=-1)
  m = lax.stop_gradient(m)
  weights = jnp.exp(s - m[..., None])
  if visible is not None:
    weights = jnp.where(_over_heads(visible), weights, 0)
  sums = read(weights, v, visible, sight.q_segments is not None)
  return SoftmaxState(m, jnp.sum(weights, axis=-1), sums)


def scores(q: jax.Array, k: jax.Array, visible: jax.Array | None) -> jax.Array:
  """Scores q . k / sqrt(d), (*batch, heads, queries, keys), or -1e30."""
  dtype = jnp.promote_types(jnp.result_type(q, k), jnp.float32)
  *batch, heads, time, width = q.shape
  good = jnp.all(jnp.isfinite(k), axis=-1)
  k = jnp.where(jnp.isfinite(k), k, 0)
  # Heads that share keys are additional rows of one product.
  rows = q.reshape(*batch, k.shape[-3], -1, width)
  operands = _contractions.operand_dtype(jnp.result_type(q, k), dtype)
  columns = k.swapaxes(-1, -2)
  s = _contractions.einsum("...qd,...dk->...qk", rows, columns, operands)
  s = s / math.sqrt(width)
  s = jnp.where(good[..., None, :], s, jnp.nan)
  s = s.reshape(*batch, heads, time, -1)
  if visible is None:
    return s
  return jnp.where(_over_heads(visible), s, _softmax_state.NEG)


def read(
  weights: jax.Array, v, visible: jax.Array | None, episodes: bool
) -> jax.Array:
  """Sums values under weights: (*batch, heads, queries, e)."""
  # With several episodes, undefined cotangents of one do not reach another.
  if not episodes or not contexts.is_guarded():
    return _sums(weights, v, visible)
  (w,) = _cotangents.contained(
    lambda weights, v: (_sums(weights, v, visible),),
    functools.partial(_seen, v.shape[:-1]),
    (weights.shape[:-1],),
    *(visible, weights, v),
  )
  return w


def _seen(shape, visible, undefined):
  """Flags of the undefined queries' weights, and of the values they see."""
  queries = jnp.any(undefined, axis=-2)[..., None]
  values = jnp.any(queries & visible, axis=-2)
  return undefined, jnp.broadcast_to(values[..., None, :], shape)


def _sums(weights, v, visible):
  """Weighted sums of the values, as `read` returns them."""
  *batch, heads, time, keys = weights.shape
  groups = v.shape[-3]
  bad = ~jnp.all(jnp.isfinite(v), axis=-1)
  v = jnp.where(jnp.isfinite(v), v, 0)
  rows = weights.reshape(*batch, groups, -1, keys)
  operands = _contractions.operand_dtype(v.dtype, weights.dtype)
  w = _contractions.einsum("...qk,...ke->...qe", rows, v, operands)
  w = w.reshape(*batch, heads, time, -1)
  seen = bad[..., None, :]
  if visible is not None:
    seen = seen & _over_heads(visible)
  spoiled = jnp.repeat(jnp.any(seen, axis=-1), heads // groups, axis=-2)
  return jnp.where(spoiled[..., None], jnp.nan, w)


def accumulate(state: SoftmaxState, q, k, v, mask: Mask, i, j) -> SoftmaxState:
  """Averages of device i with attention to the keys of device j merged in."""
  # Parts that are entirely in the future are skipped. The gradient computes the
  # weights again instead of keeping them.
  layout = mask.layout

  # Outside of the branches: their residuals would be copied.
  @jax.checkpoint
  def run(state, q, k, v):
    merged = []
    for a in range(layout.parts):
      part = split(state, layout, a)
      for c in range(layout.parts):

        def merge(part, a=a, c=c):
          arrays = (layout.part(x, p) for x, p in ((q, a), (k, c), (v, c)))
          block = attend(*arrays, mask.sight(i, j, a, c))
          return _softmax_state.softmax_combine(part, block)

        part = where_needed(mask, i, j, a, c, merge, part)
      merged.append(part)
    return join(merged)

  return run(state, q, k, v)


def where_needed(mask: Mask, i, j, part, other, function, carry):
  """`function(carry)`, or `carry` if the part sees no key of the other."""
  need = mask.layout.need(part, other, mask.causal)
  if need == "never":
    return carry
  if need == "always":
    return function(carry)
  chunk = mask.layout.chunk
  return lax.cond(
    chunk(j, other) <= chunk(i, part), function, lambda carry: carry, carry
  )


def split(state: SoftmaxState, layout: layouts.Layout, part: int):
  """The averages of one part."""
  m, u = (layout.part(x, part, -1) for x in state[:2])
  return SoftmaxState(m, u, layout.part(state.w, part))


def join(states: list[SoftmaxState]) -> SoftmaxState:
  """The averages of all parts."""
  if len(states) == 1:
    return states[0]
  m, u, w = zip(*states)
  return SoftmaxState(
    jnp.concatenate(m, -1), jnp.concatenate(u, -1), jnp.concatenate(w, -2)
  )


def pack(state: SoftmaxState) -> jax.Array:
  """One array (..., e + 2), to be sent in one collective."""
  return jnp.concatenate(
    [state.w, state.m[..., None], state.u[..., None]], axis=-1
  )


def unpack(packed: jax.Array) -> SoftmaxState:
  """Undoes `pack`."""
  return SoftmaxState(packed[..., -2], packed[..., -1], packed[..., :-2])


def _over_heads(visible):
  return visible[..., None, :, :]


def _segments(reset, axis, layout):
  """Numbers of the segments of all devices, (devices, *batch, time)."""
  reset = reset[None] if axis is None else lax.all_gather(reset, axis)
  batch = reset.shape[1:-1]
  flat = jnp.moveaxis(reset, 0, -2).reshape(*batch, -1)
  if layout.order == "zigzag":
    flat = layouts.from_zigzag(flat, layout.devices, -1)
  flat = jnp.cumsum(flat, axis=-1, dtype=jnp.int32)
  if layout.order == "zigzag":
    flat = layouts.to_zigzag(flat, layout.devices, -1)
  return jnp.moveaxis(flat.reshape(*batch, layout.devices, -1), -2, 0)


def _check(q, k, v, reset, init):
  *batch, heads, time, width = validate.shape(
    "q", q, ("*batch", "heads", "time", "d")
  )
  shape = validate.shape("k", k, (*batch, "groups", time, width))
  if heads % shape[-3]:
    raise validate.error("k", f"shape {shape}", f"groups a divisor of {heads}")
  validate.shape("v", v, (*shape[:-1], "e"))
  _checks.floating(q=q, k=k, v=v)
  _checks.reset(reset, (*batch, time))
  if init is not None:
    rows = (*batch, heads, time)
    want = (rows, rows, (*rows, v.shape[-1]))
    have = tuple(jnp.shape(leaf) for leaf in init)
    if have != want:
      raise validate.error("init", have, f"m, u and w of shapes {want}")
