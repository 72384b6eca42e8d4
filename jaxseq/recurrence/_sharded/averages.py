"""The running softmax averages with time split over devices; see `_sharded`.

As in `scans`, `run` is the function of this device's chunk alone.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from jaxseq.recurrence import _softmax_state
from jaxseq.recurrence._sharded import prefix
from jaxseq.recurrence._sharded import summaries

SoftmaxState = _softmax_state.SoftmaxState
Run = Callable[..., tuple[jax.Array, SoftmaxState]]


def softmax_outer_scan(
  run: Run, q, logits, k, v, init, *, reset, sink, axis: str, exchange: str
) -> tuple[jax.Array, SoftmaxState]:
  """`softmax_outer_scan`; a summary is m, u, w, and with resets a flag."""
  begin = init
  q, logits, k, v, init, reset = prefix.vary(axis, q, logits, k, v, init, reset)
  given = jax.tree.leaves((q, logits, k, v, init))
  dtype = jnp.result_type(*given, jnp.float32)
  keys = k
  if k is None and logits.shape[-1] < q.shape[-1]:
    keys = jnp.ones_like(q)
  wide = (None if x is None else x.astype(dtype) for x in (logits, keys, v))
  where = {"axis": axis, "exchange": exchange}
  state, chunks = _entering_average(*wide, init, reset, sink, **where)
  o, last = run(q, logits, k, v, state, reset=reset)
  return o, _final_average(chunks, begin, sink, last, axis)


def wkv_scan(
  run: Run, k, v, decay, bonus, init, *, reset, axis: str, exchange: str
) -> tuple[jax.Array, SoftmaxState]:
  """`wkv_scan`; a summary is m, u, w, and with resets a flag."""
  begin, length = init, k.shape[-2]
  dtype = jnp.result_type(*jax.tree.leaves((k, v, decay, init)), jnp.float32)
  combine = functools.partial(
    summaries.combine_wkv, length * decay.astype(dtype)
  )
  k, v, decay, bonus, init, reset = prefix.vary(
    axis, k, v, decay, bonus, init, reset
  )
  wide = (x.astype(dtype) for x in (k, v, decay))
  summary = summaries.wkv(*wide, reset)
  own = functools.partial(summaries.combine_wkv, length * decay.astype(dtype))
  entering, chunks = prefix.entering(
    summary, *_begun(summary, init, None), own, axis=axis, exchange=exchange
  )
  o, last = run(k, v, decay, bonus, entering.state, reset=reset)
  return o, _final_average(chunks, begin, None, last, axis, combine)


def softmax_decay(
  run: Callable[..., tuple], logits, m, u, *, reset, sink, axis, exchange
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
  """`softmax_decay`; a summary is m, u, and with resets a flag."""
  begin = _of_zeros(m, u)
  logits, m, u, reset = prefix.vary(axis, logits, m, u, reset)
  dtype = jnp.result_type(logits, m, u, jnp.float32)
  logits = logits.astype(dtype)
  # Averages of zeros, for want of values: XLA's CPU backend can crash over
  # empty arrays that the gradient of a `jax.shard_map` keeps. Those of the tree
  # over time are not kept but computed again.
  zeros, init = jnp.zeros_like(logits[..., :1]), _of_zeros(m, u)
  where = {"axis": axis, "exchange": exchange}
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
  summary = summaries.softmax_outer(logits, k, v, reset, sink)
  entering, chunks = prefix.entering(
    summary, *_begun(summary, init, sink), summaries.combine_softmax, **options
  )
  return entering.state, chunks


def _final_average(
  chunks, init, sink, last, axis, combine=summaries.combine_softmax
):
  """The average after the whole sequence; `init` not varied."""
  begin = neutral = None
  if chunks is not None:
    one = jax.tree.map(lambda leaf: leaf[0], chunks)
    begin, neutral = _begun(one, init, sink)
  return prefix.final(chunks, begin, neutral, combine, last, axis=axis)


def _begun(summary, init, sink):
  """Of the type of a summary: that of what is before, and of nothing."""
  neutral = jax.tree.map(jnp.zeros_like, summary)
  neutral = neutral._replace(state=_softmax_state.fresh(None, summary.state))
  begin = _softmax_state.fresh(sink, summary.state)
  if init is not None:
    begin = jax.tree.map(
      lambda leaf, like: leaf.astype(like.dtype), init, summary.state
    )
  return neutral._replace(state=begin), neutral
