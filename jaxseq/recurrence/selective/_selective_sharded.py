"""The selective scan with time split over devices; `shared` has the idea."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _summaries

Run = Callable[..., tuple[jax.Array, jax.Array]]


def selective_scan(
  run: Run, x, delta, A, B, C, init, *, D, reset, by_kernel: bool, axis: str
) -> tuple[jax.Array, jax.Array]:
  """Result of `selective_scan`; a summary is a state and sums of delta."""
  # Kernels do not support a C that is the same at all times.
  begin, rates = init, A
  x, delta, A, B, C, init, D, reset = _prefix.vary(
    axis, x, delta, A, B, C, init, D, reset
  )
  arrays = (A, B, C) + (() if init is None else (init,))
  dtype = jnp.result_type(*arrays, x, delta, jnp.float32)
  # Only the states: the output weights are zeros. Sums in closed form, with an
  # exponential for each element and state, took four times as long on a CPU.
  nothing = jnp.zeros_like(A, shape=(1,) * (x.ndim - 1) + A.shape)
  nothing = jnp.zeros_like(C) if by_kernel else nothing
  _, state = run(x, delta, A, B, nothing, reset=reset)
  steps = delta.astype(jnp.finfo(dtype).dtype)

  def combine(A):
    return functools.partial(_combine, A.astype(dtype))

  summary = _summary(state.astype(dtype), steps, reset)
  run = functools.partial(run, x, delta, A, B, C, D=D, reset=reset)
  operators, inits = (combine(A), combine(rates)), (init, begin)
  return _summaries.scan(run, summary, inits, *operators, axis=axis)


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
