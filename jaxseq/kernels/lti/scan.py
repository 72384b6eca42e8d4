"""`lti_scan` by kernels: a fused one, or large products around the scan."""

import functools

import jax
import jax.numpy as jnp

from jaxseq.kernels.linear import _parts as _linear_parts
from jaxseq.kernels.linear import scan as linear
from jaxseq.kernels.lti import _gpu_fused
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.systems import _lti_chunk


def scan(
  form: support.Form,
  system: _lti_chunk.System,
  u: jax.Array,
  init: _linear_parts.Parts,
  reset: jax.Array | None,
  *,
  reverse: bool,
  chunk_size: int,
  **options: int,
) -> tuple[jax.Array, _linear_parts.Parts]:
  """Runs `lti_scan` by kernels.

  Args:
    form: see `support.form`; the gradient repeats chunks, perhaps outside of
      its context.
    system: matrices and decays in float32, by parts.
    u: (rows, time, inputs).
    init: (rows, states) state before the first element, by parts.
    reset: (rows, time) bool, or None.
    reverse: whether to run from the last element to the first.
    chunk_size: number of elements whose states are in memory at once.
    **options: tiles and segments, see `linear.scan`.

  Returns:
    Outputs (rows, time, outputs) in the dtype of u, and the last state.
  """
  turned = reverse and u.shape[1] > chunk_size
  if turned:
    # Chunks are in order from the first on.
    u = u[:, ::-1]
    reset = None if reset is None else reset[:, ::-1]
  chunk = _chunk
  if _gpu_fused.fits(form, system, u):
    chunk = _gpu_fused.chunk
  function = functools.partial(chunk, form, reverse and not turned, options)
  carry, y = _chunks.over_chunks(
    function, chunk_size, (tuple(system), init), u, reset
  )
  return y[:, ::-1] if turned else y, carry[1]


def _chunk(form, reverse, options, carry, u, reset):
  """Computes one chunk, in the form of `_chunks.over_chunks`."""
  (a, w_in, w_out, D), h = system, _ = carry
  parts, P = len(a), a[0].shape[0]
  wide = u.astype(w_in.dtype)
  # On GPUs the parts stay joined, with one product for both.
  joined = parts > 1 and form.chip == "gpu"
  missing = -P % linear.LANES if joined else 0

  def arranged(x):
    # Converts (..., S) to the arrays of the scan.
    x = [
      jnp.pad(half, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
      for half in jnp.split(x, parts, axis=-1)
    ]
    return (jnp.concatenate(x, axis=-1),) if joined else tuple(x)

  def halves(x):
    if joined:
      x = jnp.split(x[0], parts, axis=-1)
    return tuple(half[..., :P] for half in x)

  states, final = linear.scan_parts(
    form,
    tuple(x[None, None] for x in arranged(jnp.concatenate(a))),
    tuple(wide @ w for w in arranged(w_in)),
    arranged(jnp.concatenate(h, axis=-1)),
    reset,
    reverse=reverse,
    joined=joined,
    **options,
  )
  weights = (w.T for w in arranged(w_out.T))
  y = sum(x @ w for x, w in zip(states, weights, strict=True))
  if D is not None:
    y = y + D * wide
  return (system, halves(final)), y.astype(u.dtype)
