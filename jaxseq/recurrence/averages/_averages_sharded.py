"""The running softmax averages with time split over devices; see `shared`."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _summaries

SoftmaxState = _softmax_state.SoftmaxState
Run = Callable[..., tuple[jax.Array, SoftmaxState]]


class _Averaged(NamedTuple):
  """A chunk of a running softmax average."""

  through: jax.Array | None  # as in `_summaries.Decayed`
  state: _softmax_state.SoftmaxState  # since the last reset in the chunk


def _combine(left: _Averaged, right: _Averaged, hops: int) -> _Averaged:
  """The operator of averages."""
  del hops
  before, through = left.state, None
  if right.through is not None:
    nothing = _softmax_state.fresh(None, before)
    before = _resets.select(right.through, before, nothing)
    through = left.through & right.through
  return _Averaged(through, _softmax_state.softmax_combine(before, right.state))


def softmax_outer_scan(
  run: Run, q, logits, k, v, init, *, reset, sink, axis: str
) -> tuple[jax.Array, SoftmaxState]:
  """`softmax_outer_scan`; a summary is m, u, w, and with resets a flag."""
  begin = init
  q, logits, k, v, init, reset = _prefix.vary(
    axis, q, logits, k, v, init, reset
  )
  leaves = jax.tree.leaves((q, logits, k, v, init))
  dtype = jnp.result_type(*leaves, jnp.float32)
  keys = k
  if k is None and logits.shape[-1] < q.shape[-1]:
    keys = jnp.ones_like(q)
  wide = (None if x is None else x.astype(dtype) for x in (logits, keys, v))
  where = {"axis": axis}
  state, chunks = _entering_average(*wide, init, reset, sink, **where)
  o, last = run(q, logits, k, v, state, reset=reset)
  return o, _final_average(chunks, begin, sink, last, axis)


def wkv_scan(
  run: Run, k, v, decay, bonus, init, *, reset, axis: str
) -> tuple[jax.Array, SoftmaxState]:
  """`wkv_scan`; a summary is m, u, w, and with resets a flag."""
  begin, length = init, k.shape[-2]
  dtype = jnp.result_type(*jax.tree.leaves((k, v, decay, init)), jnp.float32)
  combine = functools.partial(_combine_wkv, length * decay.astype(dtype))
  k, v, decay, bonus, init, reset = _prefix.vary(
    axis, k, v, decay, bonus, init, reset
  )
  wide = (x.astype(dtype) for x in (k, v, decay))
  summary = _wkv_summary(*wide, reset)
  operator = functools.partial(_combine_wkv, length * decay.astype(dtype))
  entering, chunks = _prefix.entering(
    summary, *_begun(summary, init, None), operator, axis=axis
  )
  o, last = run(k, v, decay, bonus, entering.state, reset=reset)
  return o, _final_average(chunks, begin, None, last, axis, combine)


def softmax_decay(
  run: Callable[..., tuple], logits, m, u, *, reset, sink, axis
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
  """`softmax_decay`; a summary is m, u, and with resets a flag."""
  begin = _of_zeros(m, u)
  logits, m, u, reset = _prefix.vary(axis, logits, m, u, reset)
  dtype = jnp.result_type(logits, m, u, jnp.float32)
  logits = logits.astype(dtype)
  # Averages of zeros, for want of values: XLA's CPU backend can crash over
  # empty arrays that the gradient of a `jax.shard_map` keeps. Those of the tree
  # over time are not kept but computed again.
  zeros, init = jnp.zeros_like(logits[..., :1]), _of_zeros(m, u)
  where = {"axis": axis}
  state, chunks = _entering_average(
    logits, None, zeros, init, reset, sink, **where
  )
  run = jax.checkpoint(functools.partial(run, reset=reset))
  decay, share, last = run(logits, state.m, state.u)
  final = _final_average(chunks, begin, sink, _of_zeros(*last), axis)
  return decay, share, (final.m, final.u)


def _of_zeros(m, u):
  return SoftmaxState(m, u, jnp.zeros_like(m, shape=m.shape + (1,)))


def _entering_average(logits, k, v, init, reset, sink, **options):
  """The average that enters this device's chunk, and all chunks if gathered."""
  summary = _summary(logits, k, v, reset, sink)
  entering, chunks = _prefix.entering(
    summary, *_begun(summary, init, sink), _combine, **options
  )
  return entering.state, chunks


def _final_average(chunks, init, sink, last, axis, combine=_combine):
  """The average after the whole sequence; `init` not varied."""
  begin = neutral = None
  if chunks is not None:
    one = jax.tree.map(lambda leaf: leaf[0], chunks)
    begin, neutral = _begun(one, init, sink)
  return _prefix.final(chunks, begin, neutral, combine, last, axis=axis)


def _begun(summary, init, sink):
  """Summaries of what is before and of nothing, typed like a summary."""
  neutral = jax.tree.map(jnp.zeros_like, summary)
  neutral = neutral._replace(state=_softmax_state.fresh(None, summary.state))
  begin = _softmax_state.fresh(sink, summary.state)
  if init is not None:
    begin = jax.tree.map(
      lambda leaf, like: leaf.astype(like.dtype), init, summary.state
    )
  return neutral._replace(state=begin), neutral


def _summary(logits, k, v, reset, sink: float | None) -> _Averaged:
  """A summary: one maximum, a product of weights and values."""
  through, rest = _summaries.through_and_kept(reset)
  v = _summaries.keep(rest, v)
  m, weight = _weights(rest, logits)
  key = weight
  if k is not None:
    key = _softmax_state.spread(weight, k.shape[-1]) * _summaries.keep(rest, k)
  w = jnp.einsum("...tk,...tv->...kv", key, v)
  state = _softmax_state.SoftmaxState(m, jnp.sum(weight, axis=-2), w)
  if reset is not None and sink is not None:
    # What a reset leaves starts with the sink.
    nothing = _softmax_state.fresh(None, state)
    begin = _resets.select(through, nothing, _softmax_state.fresh(sink, state))
    state = _softmax_state.softmax_combine(begin, state)
  return _Averaged(through, state)


def _wkv_summary(k, v, decay, reset) -> _Averaged:
  """A summary: one maximum, a sum of weights times values."""
  through, rest = _summaries.through_and_kept(reset)
  m, weight = _weights(rest, _softmax_state.decayed(k, decay))
  w = jnp.sum(weight * _summaries.keep(rest, v), axis=-2)[..., None]
  state = _softmax_state.SoftmaxState(m, jnp.sum(weight, axis=-2), w)
  return _Averaged(through, state)


def _combine_wkv(
  total: jax.Array, left: _Averaged, right: _Averaged, hops: int
) -> _Averaged:
  """The operator of `wkv_scan`; chunks add `total` to logits before them."""
  state = left.state._replace(m=left.state.m + hops * total)
  return _combine(left._replace(state=state), right, hops)


def _weights(rest, logits):
  """The largest of the logits that are kept, and the weights beside it."""
  logits = _summaries.keep(
    rest, _softmax_state.clamp(logits), _softmax_state.NEG
  )
  m = jnp.max(logits, axis=-2)
  some = logits > _softmax_state.NEG
  return m, jnp.where(some, jnp.exp(logits - m[..., None, :]), 0)
