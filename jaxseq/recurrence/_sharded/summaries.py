"""Summaries: the effect of a chunk of time on a state that enters it.

The state after the chunk is the state after it from zeros, plus what is left of
the state that entered. Both are sums over the chunk; no output is read off.
Elements before the last reset are taken out first: they must leave no trace,
undefined numbers neither.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence import _contractions
from jaxseq.recurrence import _mlstm_chunk
from jaxseq.recurrence import _outer_decays
from jaxseq.recurrence import _resets
from jaxseq.recurrence import _softmax_state
from jaxseq.recurrence._sharded import prefix


class Decayed(NamedTuple):
  """A chunk of a recurrence whose state decays."""

  # (*batch,) bool, no reset in the chunk: the state that enters has a part in
  # the state after it; None where there are no resets.
  through: jax.Array | None
  # What tells the decay of that part; None if it is the same in all chunks.
  decay: jax.Array | None
  state: jax.Array  # after the chunk, from zeros


def entered(through: jax.Array | None, state: jax.Array) -> jax.Array:
  """`state`, and zeros where `through` is false."""
  if through is None:
    return state
  return _resets.select(through, state, jnp.zeros_like(state))


def all_through(left: Decayed, right: Decayed) -> jax.Array | None:
  """Whether a state comes through both chunks."""
  return None if left.through is None else left.through & right.through


def through_and_kept(reset: jax.Array | None) -> tuple:
  """`Decayed.through` of resets (*batch, time); what the last one leaves."""
  if reset is None:
    return None, None
  later = lax.cumsum(reset.astype(jnp.int32), reset.ndim - 1, reverse=True)
  return ~jnp.any(reset, axis=-1), (later == 0) | ((later == 1) & reset)


def keep(kept: jax.Array | None, x: jax.Array, fill=0) -> jax.Array:
  """`x` (*batch, time, ...), and `fill` in the elements that are not kept."""
  if kept is None:
    return x
  return _resets.select(kept, x, jnp.full_like(x, fill))


def linear(
  a: jax.Array, b: jax.Array, reset: jax.Array | None, *, reverse: bool
) -> Decayed:
  """Of h_t = a_t h_{t-1} + b_t: a product of decays, and a tree over time."""
  a = a.reshape((1,) * (b.ndim - a.ndim) + a.shape)
  a = jnp.broadcast_to(a, (*a.shape[:-2], *b.shape[-2:]))
  if reset is not None:
    a = jnp.where(reset[..., None], 0, a)
  a, b = (jnp.moveaxis(leaf, -2, 0) for leaf in (a, b))
  if reverse:
    a, b = a[::-1], b[::-1]
  neutral = Decayed(None, jnp.ones_like(a[0]), jnp.zeros_like(b[0]))
  return prefix.fold(combine_linear, Decayed(None, a, b), neutral)


def combine_linear(left: Decayed, right: Decayed, hops: int) -> Decayed:
  """The operator; a decay of zero is a select: what is forgotten may be NaN."""
  del hops
  none = right.decay == 0
  decay = jnp.where(none, 0, right.decay * left.decay)
  carried = jnp.where(none, 0, right.decay * left.state)
  return Decayed(None, decay, carried + right.state)


def outer(k: jax.Array, v: jax.Array, decay, reset, heads: int) -> Decayed:
  """Of `outer_scan_heads`: one product of keys and values, sums of decays."""
  through, kept = through_and_kept(reset)
  k, v = keep(kept, k), keep(kept, v)
  k = jnp.repeat(k, heads // k.shape[-2], axis=-2)
  total = None
  if decay is not None:
    decay = _outer_decays.clamp(keep(kept, decay))
    axis = decay.ndim - 3
    later = lax.cumsum(decay, axis, reverse=True)
    total = lax.index_in_dim(later, 0, axis, keepdims=False)
    # An element's own decay is that of the state before it.
    cut = functools.partial(lax.slice_in_dim, later, axis=axis)
    after = jnp.concatenate([cut(1, None), jnp.zeros_like(cut(0, 1))], axis)
    k = k * jnp.exp(after)
  state = _product("...thk,...thv->...hkv", k, v)
  return Decayed(through, total, state)


def _product(spec, k, v):
  """Products in the dtype of `v`, and their sums, at least float32."""
  state = _contractions.batched(spec, k, v, v.dtype)
  return state.astype(jnp.promote_types(state.dtype, jnp.float32))


def combine_outer(left: Decayed, right: Decayed, hops: int) -> Decayed:
  """The operator of `outer`."""
  del hops
  total = None if right.decay is None else left.decay + right.decay
  state = advance_outer(right, left.state)
  return Decayed(all_through(left, right), total, state)


def advance_outer(chunk: Decayed, state: jax.Array) -> jax.Array:
  """The state after a chunk from the one before it."""
  if chunk.decay is not None:
    state = jnp.exp(chunk.decay)[..., None] * state
  return entered(chunk.through, state) + chunk.state


def combine_affine(left: Decayed, right: Decayed, hops: int) -> Decayed:
  """The operator of a dense map `decay` and a state."""
  del hops
  through = all_through(left, right)
  decay = entered(right.through, right.decay @ left.decay)
  return Decayed(through, decay, advance_affine(right, left.state))


def advance_affine(chunk: Decayed, state: jax.Array) -> jax.Array:
  """The state after a chunk from the one before it."""
  return entered(chunk.through, chunk.decay @ state) + chunk.state


def selective(state: jax.Array, delta: jax.Array, reset) -> Decayed:
  """Of `selective_scan`, with its state: sums of delta tell the decay."""
  through, kept = through_and_kept(reset)
  return Decayed(through, jnp.sum(keep(kept, delta), axis=-2), state)


def combine_selective(
  A: jax.Array, left: Decayed, right: Decayed, hops: int
) -> Decayed:
  """The operator of `selective`."""
  del hops
  carried = jnp.exp(right.decay[..., None] * A) * left.state
  return Decayed(
    all_through(left, right),
    left.decay + right.decay,
    entered(right.through, carried) + right.state,
  )


class Averaged(NamedTuple):
  """A chunk of a running softmax average."""

  through: jax.Array | None  # as in `Decayed`
  state: _softmax_state.SoftmaxState  # since the last reset in the chunk


def softmax_outer(logits, k, v, reset, sink: float | None) -> Averaged:
  """Of `softmax_outer_scan`: one maximum, a product of weights and values."""
  through, kept = through_and_kept(reset)
  v = keep(kept, v)
  m, weight = _weights(kept, logits)
  key = weight
  if k is not None:
    key = _softmax_state.spread(weight, k.shape[-1]) * keep(kept, k)
  w = _product("...tk,...tv->...kv", key, v)
  state = _softmax_state.SoftmaxState(m, jnp.sum(weight, axis=-2), w)
  if reset is not None and sink is not None:
    # What a reset leaves starts with the sink.
    nothing = _softmax_state.fresh(None, state)
    begin = _resets.select(through, nothing, _softmax_state.fresh(sink, state))
    state = _softmax_state.softmax_combine(begin, state)
  return Averaged(through, state)


def wkv(k, v, decay, reset) -> Averaged:
  """Of `wkv_scan`: one maximum, a sum of weights times values."""
  through, kept = through_and_kept(reset)
  m, weight = _weights(kept, _softmax_state.decayed(k, decay))
  w = jnp.sum(weight * keep(kept, v), axis=-2)[..., None]
  state = _softmax_state.SoftmaxState(m, jnp.sum(weight, axis=-2), w)
  return Averaged(through, state)


def combine_wkv(
  total: jax.Array, left: Averaged, right: Averaged, hops: int
) -> Averaged:
  """The operator of `wkv`, whose chunks add `total` to logits before them."""
  state = left.state._replace(m=left.state.m + hops * total)
  return combine_softmax(left._replace(state=state), right, hops)


def _weights(kept, logits):
  """The largest of the logits that are kept, and the weights beside it."""
  logits = keep(kept, _softmax_state.clamp(logits), _softmax_state.NEG)
  m = jnp.max(logits, axis=-2)
  some = logits > _softmax_state.NEG
  return m, jnp.where(some, jnp.exp(logits - m[..., None, :]), 0)


def combine_softmax(left: Averaged, right: Averaged, hops: int) -> Averaged:
  """The operator of `softmax_outer`."""
  del hops
  before, through = left.state, None
  if right.through is not None:
    nothing = _softmax_state.fresh(None, before)
    before = _resets.select(right.through, before, nothing)
    through = left.through & right.through
  return Averaged(through, _softmax_state.softmax_combine(before, right.state))


def mlstm(k: jax.Array, v: jax.Array, i, f, reset) -> Decayed:
  """Of `mlstm_scan_heads`: one maximum, a product of weighted keys and values.

  The state is that from nothing, m of the logarithm of zero. A reset in the
  chunk begins with m = 0, which decays like all else.
  """
  through, kept = through_and_kept(reset)
  axis = f.ndim - 2
  k, v = keep(kept, k), keep(kept, v)
  i = keep(kept, _mlstm_chunk.clamp(i), _mlstm_chunk.NEG)
  later = lax.cumsum(keep(kept, _mlstm_chunk.clamp(f)), axis, reverse=True)
  total = lax.index_in_dim(later, 0, axis, keepdims=False)
  cut = functools.partial(lax.slice_in_dim, later, axis=axis)
  after = jnp.concatenate([cut(1, None), jnp.zeros_like(cut(0, 1))], axis)
  m = jnp.max(after + i, axis)
  if reset is not None:
    m = _resets.select(through, m, jnp.maximum(m, total))
  k = k * jnp.exp(after + i - jnp.expand_dims(m, axis))[..., None]
  C = _product("...thk,...thv->...hkv", k, v)
  return Decayed(through, total, _mlstm_chunk.MLSTMState(C, k.sum(axis), m))


def no_mlstm(zeros: Decayed) -> Decayed:
  """Of zeros in the shapes of `mlstm` the summary of no elements."""
  nothing = jnp.full_like(zeros.state.m, _mlstm_chunk.NEG)
  return zeros._replace(state=zeros.state._replace(m=nothing))


def combine_mlstm(left: Decayed, right: Decayed, hops: int) -> Decayed:
  """The operator of `mlstm`."""
  del hops
  before, state = left.state, right.state
  from_left = before.m + right.decay
  if right.through is not None:
    nothing = jnp.full_like(from_left, _mlstm_chunk.NEG)
    from_left = _resets.select(right.through, from_left, nothing)
    zeros = jax.tree.map(jnp.zeros_like, before)
    before = _resets.select(right.through, before, zeros)
  m = jnp.maximum(from_left, state.m)
  old, new = jnp.exp(from_left - m), jnp.exp(state.m - m)
  n = old[..., None] * before.n + new[..., None] * state.n
  old, new = (x[..., None, None] for x in (old, new))
  both = _mlstm_chunk.MLSTMState(old * before.C + new * state.C, n, m)
  total = left.decay + right.decay
  return Decayed(all_through(left, right), total, both)
