"""Chunks of the delta rules, arrays [B, C, F], and single elements."""

import jax
import jax.numpy as jnp

from jaxseq.recurrence.delta import _delta_forms
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _episodes
from jaxseq.recurrence.shared import _resets

Inputs = _delta_forms.Tied | _delta_forms.General


def chunk(
  method: str,
  operands: jnp.dtype,
  out: jnp.dtype,
  guarded: bool,
  state: jax.Array,
  x: Inputs,
  reset: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """State after a "sequential" or "chunked" chunk, and outputs [B, C, V]."""
  # Products have the dtype `operands`, outputs the dtype `out`.
  if method == "sequential":
    x = jax.tree.map(lambda leaf: leaf.astype(state.dtype), x)
    o, state = _chunks.over_steps(step, x, state, reset)
    return state, o.astype(out)
  decay = x.decay
  if decay is not None and reset is not None:
    decay = jnp.where(reset[..., None], 0, decay)
  x = jax.tree.map(lambda leaf: leaf.astype(operands), x._replace(decay=None))
  if decay is not None:
    x = x._replace(decay=decay.astype(state.dtype))
  x = jax.tree.map(lambda leaf: leaf[:, None], x)
  state = state[:, None]
  masks = _episodes.masks(reset, x.v.shape[-2])
  tied = isinstance(x, _delta_forms.Tied)
  form = _delta_forms.tied if tied else _delta_forms.general

  def products(queries, elements, decay, state):
    return form(type(x)(*queries, *elements, decay), state, masks)

  arguments = (x.q,), x[1:-1], x.decay, state
  if guarded and reset is not None:
    o, state = _episodes.guarded(products, *arguments, masks)
  else:
    o, state = products(*arguments)
  return state[:, 0], o[:, 0].astype(out)


def step(
  x: Inputs, state: jax.Array, reset: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """Output [B, V] of one element, without the time axis, and the state."""
  decay = x.decay
  if reset is not None:
    state = _resets.select(reset, jnp.zeros_like(state), state)
    if decay is not None:
      decay = jnp.where(reset[..., None], 0, decay)
  before = state
  if decay is not None:
    state = jnp.exp(decay)[..., None] * state
  if isinstance(x, _delta_forms.Tied):
    state = state + _outer(x.k, x.v - _read(x.read, state))
  else:
    state = state + _outer(x.b, _read(x.a, before)) + _outer(x.k, x.v)
  return _read(x.q, state), state


def _read(x, state):
  """Product x^T S."""
  return jnp.sum(x[..., None] * state, axis=-2)


def _outer(x, y):
  return x[..., None] * y[..., None, :]
