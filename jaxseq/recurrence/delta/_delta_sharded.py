"""The delta rules with time split over devices; `shared` has the idea.

`run` is the function of this device's chunk alone, with the state that enters.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _summaries

Run = Callable[..., tuple[jax.Array, jax.Array]]


def delta_scan(
  run: Run, x, init, *, reset, axis: str, exchange: str
) -> tuple[jax.Array, jax.Array]:
  """The delta rules, `x` being `Tied` or `General` inputs.

  A chunk is an affine map of states, S -> M S + N, with a dense M. The columns
  of a state do not know of each other: one scan from [0, 1] with values [v, 0]
  ends in [N, M], and its outputs are those from zeros and what the entering
  state is read with. It runs before the exchange, and nothing is done twice.
  """
  begin = init
  x, init, reset = _prefix.vary(axis, x, init, reset)
  given = [leaf for leaf in (*x, init) if leaf is not None]
  out = jnp.result_type(x.q, x.k, x.v)
  dtype = jnp.result_type(*given, jnp.float32)
  operands = _contractions.operand_dtype(out, dtype)
  decay = None if x.decay is None else x.decay.astype(dtype)
  x = jax.tree.map(lambda leaf: leaf.astype(operands), x)._replace(decay=decay)
  dk, dv = x.k.shape[-1], x.v.shape[-1]
  nothing = jnp.zeros_like(x.v, shape=(*x.v.shape[:-1], dk))
  eye = jnp.eye(dv + dk, dtype=dtype)[dv:]
  shape = *x.v.shape[:-2], dk, dv + dk
  state = jnp.zeros_like(x.v, dtype, shape=shape) + eye
  x = x._replace(v=jnp.concatenate([x.v, nothing], axis=-1))
  o, state = run(x, state, reset)
  through = None if reset is None else ~jnp.any(reset, axis=-1)
  summary = _summaries.Decayed(through, state[..., dv:], state[..., :dv])
  combine = _combine
  where = {"axis": axis, "exchange": exchange}
  state, chunks = _summaries.entering(summary, init, combine, **where)
  seen = _contractions.batched(
    "...tk,...kv->...tv", o[..., dv:], state, operands
  ).astype(dtype)
  o = o[..., :dv] + _summaries.entered(_summaries.before_resets(reset), seen)
  last = _advance(summary, state)
  return o.astype(out), _summaries.final(
    chunks, begin, combine, last, axis=axis
  )


def _combine(
  left: _summaries.Decayed, right: _summaries.Decayed, hops: int
) -> _summaries.Decayed:
  """The operator of a dense map `decay` and a state."""
  del hops
  through = _summaries.all_through(left, right)
  decay = _summaries.entered(right.through, right.decay @ left.decay)
  return _summaries.Decayed(through, decay, _advance(right, left.state))


def _advance(chunk: _summaries.Decayed, state: jax.Array) -> jax.Array:
  """The state after a chunk from the one before it."""
  return _summaries.entered(chunk.through, chunk.decay @ state) + chunk.state
