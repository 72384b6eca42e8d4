"""The mLSTM's states with time split over devices; `shared` has the idea."""

import jax
import jax.numpy as jnp

from jaxseq.recurrence.mlstm import _mlstm_chunk
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _summaries


def part(run, x, init, reset, **options) -> _summaries.Part:
  """A device's part; a summary is C, n, m, sums of logarithms, a flag."""
  del options
  dtype = jnp.result_type(*jax.tree.leaves((x, init)), jnp.float32)
  out = jnp.result_type(x.q, x.k, x.v)
  operands = _contractions.operand_dtype(out, dtype)
  k, v = (leaf.astype(operands) for leaf in (x.k, x.v))
  i, f = (leaf.astype(dtype) for leaf in (x.log_input, x.log_forget))
  return _summaries.Part(
    _summary(k, v, i, f, reset),
    lambda state: run(x, state, reset),
    _combine,
    neutral=_nothing,
  )


def _summary(k: jax.Array, v: jax.Array, i, f, reset) -> _summaries.Decayed:
  """Summarizes a chunk: one maximum, a product of weighted keys and values."""
  through, rest = _summaries.through_and_kept(reset)
  axis = f.ndim - 2
  k, v = _summaries.keep(rest, k), _summaries.keep(rest, v)
  i = _summaries.keep(rest, _mlstm_chunk.clamp(i), _mlstm_chunk.NEG)
  f = _summaries.keep(rest, _mlstm_chunk.clamp(f))
  total, after = _summaries.later(f, axis)
  m = jnp.max(after + i, axis)
  if reset is not None:
    m = _resets.select(through, m, jnp.maximum(m, total))
  k = k * jnp.exp(after + i - jnp.expand_dims(m, axis))[..., None]
  C = _summaries.product("...thk,...thv->...hkv", k, v)
  return _summaries.Decayed(
    through, total, _mlstm_chunk.MLSTMState(C, k.sum(axis), m)
  )


def _nothing(zeros: _summaries.Decayed) -> _summaries.Decayed:
  """The summary of no elements, from zeros in its shapes."""
  nothing = jnp.full_like(zeros.state.m, _mlstm_chunk.NEG)
  return zeros._replace(state=zeros.state._replace(m=nothing))


def _combine(
  left: _summaries.Decayed, right: _summaries.Decayed, hops: int
) -> _summaries.Decayed:
  """Merges the summaries of neighboring chunks."""
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
  combined = _mlstm_chunk.MLSTMState(old * before.C + new * state.C, n, m)
  total = left.decay + right.decay
  return _summaries.Decayed(
    _summaries.all_through(left, right), total, combined
  )
