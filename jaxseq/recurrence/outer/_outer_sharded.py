"""Sums of outer products with time split over devices; see `shared`."""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.outer import _outer_decays
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _summaries


def part(run, x, init, reset, *, inclusive: bool) -> _summaries.Part:
  """The part of `outer_scan_heads` of a device, by LASP-2."""
  # A summary is a state and the sums of the log-decays, and with resets one
  # flag. The scan of the chunk from zeros runs beside the exchange; the decayed
  # queries read the entering state at the end. In the gradient its cotangent,
  # one more product, is sent while the scan runs backwards.
  q, k, v, decay = x
  dtype = jnp.result_type(*jax.tree.leaves((x, init)), jnp.float32)
  out = jnp.result_type(q, k, v)
  operands = _contractions.operand_dtype(out, dtype)
  q, k, v = (z.astype(operands) for z in (q, k, v))
  decay = None if decay is None else decay.astype(dtype)
  # Not rounded before the contributions of other devices' states.
  o, _ = run(type(x)(q, k, v, decay), None, reset, wide=True)
  heads = v.shape[-2]
  summary = _summary(k, v, decay, reset, heads)
  before = _summaries.before_resets(reset)
  # Queries that do not read the entering state stay out of its gradient.
  q = _summaries.keep(before, jnp.repeat(q, heads // q.shape[-2], axis=-2))
  if decay is not None:
    decay = _summaries.keep(before, _outer_decays.clamp(decay))
    if not inclusive:
      # The state that an element reads does not have its own decay.
      earlier = decay[..., :-1, :, :]
      nothing = jnp.zeros_like(decay[..., :1, :, :])
      decay = jnp.concatenate([nothing, earlier], axis=-3)
    sums = lax.cumsum(decay, decay.ndim - 3)
    q = q * jnp.exp(_summaries.keep(before, sums))

  def completed(state):
    seen = _contractions.batched(
      "...thk,...hkv->...thv", q, state, operands
    ).astype(dtype)
    return o + _summaries.entered(before, seen), _advance(summary, state)

  return _summaries.Part(summary, completed, _combine)


def _summary(
  k: jax.Array, v: jax.Array, decay, reset, heads: int
) -> _summaries.Decayed:
  """Summarizes a chunk: a product of keys and values, sums of decays."""
  through, rest = _summaries.through_and_kept(reset)
  k, v = _summaries.keep(rest, k), _summaries.keep(rest, v)
  k = jnp.repeat(k, heads // k.shape[-2], axis=-2)
  total = None
  if decay is not None:
    decay = _outer_decays.clamp(_summaries.keep(rest, decay))
    # An element's own decay applies to the state before it.
    total, after = _summaries.later(decay, decay.ndim - 3)
    k = k * jnp.exp(after)
  state = _summaries.product("...thk,...thv->...hkv", k, v)
  return _summaries.Decayed(through, total, state)


def _combine(
  left: _summaries.Decayed, right: _summaries.Decayed, hops: int
) -> _summaries.Decayed:
  """Composes the summaries of neighboring chunks."""
  del hops
  total = None if right.decay is None else left.decay + right.decay
  state = _advance(right, left.state)
  return _summaries.Decayed(_summaries.all_through(left, right), total, state)


def _advance(chunk: _summaries.Decayed, state: jax.Array) -> jax.Array:
  """The state after a chunk from the one before it."""
  decay, state = _summaries.coming_through(chunk, state)
  if decay is not None:
    state = jnp.exp(decay)[..., None] * state
  return state + chunk.state
