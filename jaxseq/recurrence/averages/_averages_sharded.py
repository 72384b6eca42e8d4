"""The running softmax averages with time split over devices; see `shared`."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _summaries

SoftmaxState = _softmax_state.SoftmaxState
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


def softmax_outer(run, x, init, reset, *, sink=None, **options):
  """The part of `softmax_outer_scan`; a summary is m, u, w, and a flag."""
  del options
  dtype = jnp.result_type(*jax.tree.leaves((x, init)), jnp.float32)
  keys = x.k
  if x.k is None and x.logits.shape[-1] < x.q.shape[-1]:
    keys = jnp.ones_like(x.q)
  wide = (None if z is None else z.astype(dtype) for z in (x.logits, keys, x.v))
  return _summaries.Part(
    _summary(*wide, reset, sink),
    lambda state: run(x, state, reset),
    _combine,
    **_beginning(sink),
  )


def wkv(run, x, init, reset, **options):
  """The part of `wkv_scan`; a summary is m, u, w, and with resets a flag."""
  del options
  counted = x._replace(bonus=None), init
  dtype = jnp.result_type(*jax.tree.leaves(counted), jnp.float32)

  def combine(x):
    total = x.k.shape[-2] * x.decay.astype(dtype)
    return functools.partial(_combine_wkv, total)

  wide = (z.astype(dtype) for z in (x.k, x.v, x.decay))
  return _summaries.Part(
    _wkv_summary(*wide, reset),
    lambda state: run(x, state, reset),
    combine(x),
    combine,
    **_beginning(None),
  )


def softmax_decay(
  run: Callable[..., tuple], logits, m, u, *, reset, sink, axis
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
  """`softmax_decay`; a summary is m, u, and with resets a flag."""

  def part(logits, init, reset):
    dtype = jnp.result_type(logits, init.m, init.u, jnp.float32)
    logits = logits.astype(dtype)
    # Averages of zeros, as there are no values: XLA's CPU backend can crash
    # over empty arrays that the gradient of a `jax.shard_map` keeps. The tree
    # over time is recomputed instead of kept.
    zeros = jnp.zeros_like(logits[..., :1])
    again = jax.checkpoint(functools.partial(run, reset=reset))

    def of_state(state):
      decay, share, last = again(logits, state.m, state.u)
      return (decay, share), _of_zeros(*last)

    summary = _summary(logits, None, zeros, reset, sink)
    return _summaries.Part(summary, of_state, _combine, **_beginning(sink))

  init = _of_zeros(m, u)
  y, last = _summaries.split(part, logits, init, reset, axis=axis)
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
