"""The selective scan with time split over devices; `shared` has the idea."""

import functools

import jax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _summaries


def part(run, x, init, reset, *, by_kernel: bool) -> _summaries.Part:
  """A device's part; a summary is a state and sums of delta."""
  # Kernels do not support a C that is the same at all times.
  counted = (x._replace(D=None), init)
  dtype = jnp.result_type(*jax.tree.leaves(counted), jnp.float32)
  # Only the states: the output weights are zeros. Sums in closed form, with an
  # exponential for each element and state, took four times as long on a CPU.
  nothing = jnp.zeros_like(x.A, shape=(1,) * (x.x.ndim - 1) + x.A.shape)
  nothing = jnp.zeros_like(x.C) if by_kernel else nothing
  _, state = run(x._replace(C=nothing, D=None), None, reset)
  steps = x.delta.astype(jnp.finfo(dtype).dtype)

  def combine(x):
    return functools.partial(_combine, x.A.astype(dtype))

  summary = _summary(state.astype(dtype), steps, reset)
  return _summaries.Part(
    summary, lambda state: run(x, state, reset), combine(x), combine
  )


def _summary(state: jax.Array, delta: jax.Array, reset) -> _summaries.Decayed:
  """Summarizes a chunk by its state and the sums of delta."""
  through, rest = _summaries.through_and_kept(reset)
  return _summaries.Decayed(
    through, jnp.sum(_summaries.keep(rest, delta), axis=-2), state
  )


def _combine(
  A: jax.Array, left: _summaries.Decayed, right: _summaries.Decayed, hops: int
) -> _summaries.Decayed:
  """Composes the summaries of neighboring chunks."""
  del hops
  decay, state = _summaries.coming_through(right, left.state)
  return _summaries.Decayed(
    _summaries.all_through(left, right),
    left.decay + right.decay,
    jnp.exp(decay[..., None] * A) * state + right.state,
  )
