"""The running softmax averages with time split over devices; see `shared`."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _summaries

SoftmaxState = _softmax_state.SoftmaxState
Run = Callable[..., tuple[jax.Array, SoftmaxState]]
_Decayed = _summaries.Decayed


def _combine(left: _Decayed, right: _Decayed, hops: int) -> _Decayed:
  """Merges the averages of two neighboring chunks."""
  del hops
  before, through = left.state, None
  if right.through is not None:
    nothing = _softmax_state.fresh(None, before)
    before = _resets.select(right.through, before, nothing)
    through = left.through & right.through
  return _Decayed(
    through, None, _softmax_state.softmax_combine(before, right.state)
  )


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
  summary = _summary(*wide, reset, sink)
  run = functools.partial(run, q, logits, k, v, reset=reset)
  by = _beginning(sink) | {"axis": axis}
  return _summaries.scan(run, summary, (init, begin), _combine, **by)


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
  run = functools.partial(run, k, v, decay, bonus, reset=reset)
  inits, by = (init, begin), _beginning(None) | {"axis": axis}
  return _summaries.scan(run, summary, inits, operator, combine, **by)


def softmax_decay(
  run: Callable[..., tuple], logits, m, u, *, reset, sink, axis
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
  """`softmax_decay`; a summary is m, u, and with resets a flag."""
  begin = _of_zeros(m, u)
  logits, m, u, reset = _prefix.vary(axis, logits, m, u, reset)
  dtype = jnp.result_type(logits, m, u, jnp.float32)
  logits = logits.astype(dtype)
  # Averages of zeros, as there are no values: XLA's CPU backend can crash over
  # empty arrays that the gradient of a `jax.shard_map` keeps. The tree over
  # time is recomputed instead of kept.
  zeros, init = jnp.zeros_like(logits[..., :1]), _of_zeros(m, u)
  summary = _summary(logits, None, zeros, reset, sink)
  run = jax.checkpoint(functools.partial(run, reset=reset))

  def of_state(state):
    decay, share, last = run(logits, state.m, state.u)
    return (decay, share), _of_zeros(*last)

  inits, by = (init, begin), _beginning(sink) | {"axis": axis}
  y, last = _summaries.scan(of_state, summary, inits, _combine, **by)
  return *y, (last.m, last.u)


def _of_zeros(m, u):
  return SoftmaxState(m, u, jnp.zeros_like(m, shape=m.shape + (1,)))


def _beginning(sink):
  """Returns the initial and the neutral summary, to pass to a scan."""

  def begun(zeros, init):
    if init is None:
      init = _softmax_state.fresh(sink, zeros.state)
    return _summaries.brought(zeros, init)

  def neutral(zeros):
    return zeros._replace(state=_softmax_state.fresh(None, zeros.state))

  return {"begun": begun, "neutral": neutral}


def _summary(logits, k, v, reset, sink: float | None) -> _Decayed:
  """Summarizes a chunk by one maximum, and a product of weights and values."""
  through, rest = _summaries.through_and_kept(reset)
  v = _summaries.keep(rest, v)
  m, weight = _weights(rest, logits)
  key = weight
  if k is not None:
    key = _softmax_state.spread(weight, k.shape[-1]) * _summaries.keep(rest, k)
  w = jnp.einsum("...tk,...tv->...kv", key, v)
  state = _softmax_state.SoftmaxState(m, jnp.sum(weight, axis=-2), w)
  if reset is not None and sink is not None:
    # After a reset, the state starts with the sink.
    nothing = _softmax_state.fresh(None, state)
    begin = _resets.select(through, nothing, _softmax_state.fresh(sink, state))
    state = _softmax_state.softmax_combine(begin, state)
  return _Decayed(through, None, state)


def _wkv_summary(k, v, decay, reset) -> _Decayed:
  """Summarizes a chunk by one maximum, and a sum of weights times values."""
  through, rest = _summaries.through_and_kept(reset)
  m, weight = _weights(rest, _softmax_state.decayed(k, decay))
  w = jnp.sum(weight * _summaries.keep(rest, v), axis=-2)[..., None]
  state = _softmax_state.SoftmaxState(m, jnp.sum(weight, axis=-2), w)
  return _Decayed(through, None, state)


def _combine_wkv(
  total: jax.Array, left: _Decayed, right: _Decayed, hops: int
) -> _Decayed:
  """Merges chunks of `wkv_scan`, which add `total` to earlier logits."""
  state = left.state._replace(m=left.state.m + hops * total)
  return _combine(left._replace(state=state), right, hops)


def _weights(rest, logits):
  """The largest of the logits that are kept, and the weights relative to it."""
  logits = _summaries.keep(
    rest, _softmax_state.clamp(logits), _softmax_state.NEG
  )
  m = jnp.max(logits, axis=-2)
  some = logits > _softmax_state.NEG
  return m, jnp.where(some, jnp.exp(logits - m[..., None, :]), 0)
