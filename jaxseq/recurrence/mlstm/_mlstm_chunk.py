"""Chunks of the mLSTM, by method; and single elements.

Relative to the largest log-weight m of its own time, an element is added with
the weight exp(i - m_t) and the state has the decay exp(f + m_{t-1} - m_t): C
and n are the state of an `outer_scan` whose values have a column of ones. For
gradients m is a constant if it is only a shift.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq.recurrence.outer import _outer_chunk
from jaxseq.recurrence.outer import _outer_forms
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _cotangents
from jaxseq.recurrence.shared import _resets

# The logarithm of an empty sum. -inf would make exp(m - m) undefined.
NEG = -1e30


@_serialization.exported("jaxseq.recurrence._mlstm_chunk.MLSTMState")
class MLSTMState(NamedTuple):
  """State of an mLSTM; zeros before the first element.

  Attributes:
    C: (*batch, dk, dv) sum of weight exp(-m) k v^T.
    n: (*batch, dk) sum of weight exp(-m) k.
    m: (*batch,) largest logarithm of a weight, at least that of the zeros.
  """

  C: jax.Array
  n: jax.Array
  m: jax.Array


class Inputs(NamedTuple):
  """The arrays of time that a chunk consumes."""

  q: jax.Array  # [B, C, K]
  k: jax.Array  # [B, C, K]
  v: jax.Array  # [B, C, V]
  log_input: jax.Array  # [B, C], logarithm of the input gate
  log_forget: jax.Array  # [B, C], logarithm of the forget gate


class Packed(NamedTuple):
  """C and n side by side, [B, K, V + 1], and m [B]."""

  Cn: jax.Array
  m: jax.Array


def pack(state: MLSTMState) -> Packed:
  """Packs C and n into one matrix."""
  return Packed(jnp.concatenate([state.C, state.n[..., None]], -1), state.m)


def unpack(packed: Packed) -> MLSTMState:
  """The inverse of `pack`."""
  return MLSTMState(packed.Cn[..., :-1], packed.Cn[..., -1], packed.m)


def chunk(
  method: str,
  operands: jnp.dtype,
  out: jnp.dtype,
  guarded: bool,
  eps: float,
  state: Packed,
  x: Inputs,
  reset: jax.Array | None,
) -> tuple[Packed, jax.Array]:
  """State after a "sequential" or "chunked" chunk, and outputs [B, C, V]."""
  # Products have the dtype `operands`, outputs the dtype `out`.
  if method == "sequential":
    x = jax.tree.map(lambda leaf: leaf.astype(state.m.dtype), x)
    element = functools.partial(step, eps=eps)
    h, state = _chunks.over_steps(element, x, state, reset)
    return state, h.astype(out)
  dtype = state.m.dtype
  m, shift, log_weight, decay = weights(
    x.log_input, x.log_forget, state.m, reset
  )
  k = x.k.astype(dtype) * jnp.exp(log_weight)[..., None]
  q, k, v = (
    leaf.astype(operands)[:, None] for leaf in (x.q, k, beside_ones(x.v))
  )
  inputs = _outer_forms.Inputs(q, k, v, decay[:, None, :, None])
  Cn = rescaled(state, lax.stop_gradient(state.m)).Cn

  def products(inputs, Cn):
    return _outer_chunk.run("chunked", inputs, Cn, reset, guarded)

  episodes = reset if guarded else None
  o, Cn = _cotangents.of_episodes(products, inputs, Cn[:, None], episodes)
  o = o[:, 0].astype(dtype)
  h = read(o[..., :-1], o[..., -1], m, shift, eps)
  last = Packed(Cn[:, 0], shift[:, -1])
  return rescaled(last, m[:, -1]), h.astype(out)


class Weights(NamedTuple):
  """Weights of elements [B, C] that make of an mLSTM an `outer_scan`."""

  m: jax.Array  # largest logarithm of a weight so far
  shift: jax.Array  # the same, a constant for gradients
  log_weight: jax.Array  # of the key, at most 0
  decay: jax.Array  # logarithm


def weights(
  i: jax.Array, f: jax.Array, m: jax.Array, reset: jax.Array | None
) -> Weights:
  """Weights from log-gates [B, C] and the m [B] before them, in its dtype."""
  i, f = (clamp(gate.astype(m.dtype)) for gate in (i, f))
  maxima = running_max(i, f, m, reset)
  shift, before = lax.stop_gradient((maxima, m))
  earlier = jnp.concatenate([before[:, None], shift[:, :-1]], axis=1)
  # In this order: the difference of close shifts is exact, and cancels the
  # rounding of m.
  decay = f + (earlier - shift)
  if reset is not None:
    decay = jnp.where(reset, 0, decay)
  return Weights(maxima, shift, i - shift, decay)


def beside_ones(v: jax.Array) -> jax.Array:
  """Appends a column of ones to values; their sum is n."""
  return jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)


def step(
  x: Inputs, state: Packed, reset: jax.Array | None, eps: float
) -> tuple[jax.Array, Packed]:
  """Output [B, V] of one element, all in one dtype, and the state after it."""
  if reset is not None:
    fresh = jax.tree.map(jnp.zeros_like, state)
    state = _resets.select(reset, fresh, state)
  i, f = clamp(x.log_input), clamp(x.log_forget)
  m = jnp.maximum(f + state.m, i)
  shift, before = lax.stop_gradient((m, state.m))
  remainder = jnp.exp(f + (before - shift))
  v = beside_ones(x.v)
  k = x.k * jnp.exp(i - shift)[..., None]
  Cn = remainder[..., None, None] * rescaled(state, before).Cn
  Cn = Cn + k[..., None] * v[..., None, :]
  o = jnp.sum(x.q[..., None] * Cn, axis=-2)
  h = read(o[..., :-1], o[..., -1], m, shift, eps)
  return h, rescaled(Packed(Cn, shift), m)


def read(
  o: jax.Array, total: jax.Array, m: jax.Array, shift: jax.Array, eps: float
) -> jax.Array:
  """Outputs [..., V] from q^T C and q^T n [...], that `shift` is taken off."""
  # The shift has the value of m, but is a constant for gradients.
  least = jnp.exp(-shift)
  slack = eps * jnp.exp(m - shift)
  divisor = jnp.maximum(jnp.abs(total), least) + slack
  return o / divisor[..., None]


def clamp(gate: jax.Array) -> jax.Array:
  """Replaces logarithms of -inf by the finite logarithm of an empty sum."""
  return jnp.maximum(gate, NEG)


def running_max(
  i: jax.Array, f: jax.Array, m: jax.Array, reset: jax.Array | None
) -> jax.Array:
  """Maxima m_t = max(f_t + m_{t-1}, i_t), from m = 0 at a reset: [B, C]."""
  # By doubling: each round doubles the earlier elements that an entry covers.
  C = i.shape[1]
  # For those elements: whether there is a reset, the sum of f, and m, without
  # elements before them.
  first = jnp.arange(C) == 0
  m = jnp.where(first, m[:, None], NEG)
  if reset is not None:
    m = jnp.where(reset, 0, m)
  m, cut = jnp.maximum(f + m, i), first if reset is None else reset | first
  cut = jnp.broadcast_to(cut, i.shape)
  length = 1
  while length < C:
    behind = _later(m, length, NEG)
    m = jnp.where(cut, m, jnp.maximum(f + behind, m))
    f = jnp.where(cut, f, f + _later(f, length, 0))
    cut = cut | _later(cut, length, True)
    length *= 2
  return m


def _later(x, steps, fill):
  """Shifts entries by that many elements, with `fill` before them."""
  pad = jnp.full_like(x[:, :steps], fill)
  return jnp.concatenate([pad, x[:, :-steps]], axis=1)


def rescaled(state: Packed, m: jax.Array) -> Packed:
  """Rescales a state to another m by a factor of value 1 with a derivative."""
  scale = jnp.exp(state.m - m)
  return Packed(scale[..., None, None] * state.Cn, m)
