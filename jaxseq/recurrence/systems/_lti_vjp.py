"""`lti_scan` by kernels: one, or two large matrix products around the scan."""

import functools

import jax
import jax.numpy as jnp

from jaxseq.recurrence.linear import _linear_parts
from jaxseq.recurrence.linear import _linear_vjp
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.systems import _lti_fused


def run(
  system,
  u: jax.Array,
  init: _linear_parts.Parts,
  reset: jax.Array | None,
  *,
  reverse: bool,
  chunk_size: int,
  **options: int,
) -> tuple[jax.Array, _linear_parts.Parts]:
  """Outputs y_t = Re(C h_t) + D u_t over h_t = a h_{t-1} + B u_t."""
  turned = reverse and u.shape[1] > chunk_size
  if turned:
    # Chunks follow each other from the first on.
    u = u[:, ::-1]
    reset = None if reset is None else reset[:, ::-1]
  # Found once: the gradient runs chunks again, maybe outside of a context.
  options["form"] = support.form("lti", system.w_in.dtype)
  chunk = _chunk
  if _lti_fused.fits(options["form"], system, u):
    chunk = _lti_fused.chunk
  function = functools.partial(chunk, reverse and not turned, options)
  carry, y = _chunks.over_chunks(
    function, chunk_size, (tuple(system), init), u, reset
  )
  return y[:, ::-1] if turned else y, carry[1]


def _chunk(reverse, options, carry, u, reset):
  """One chunk, in the form of `_chunks.over_chunks`."""
  (a, w_in, w_out, D), h = system, _ = carry
  parts, P = len(a), a[0].shape[0]
  wide = u.astype(w_in.dtype)
  # On GPUs the parts stay side by side, with one product for both.
  joined = parts > 1 and options["form"].chip == "gpu"
  missing = -P % _linear_vjp.LANES if joined else 0

  def arranged(x):
    # (..., S) -> arrays as they are scanned.
    x = [
      jnp.pad(half, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
      for half in jnp.split(x, parts, axis=-1)
    ]
    return (jnp.concatenate(x, axis=-1),) if joined else tuple(x)

  def halves(x):
    if joined:
      x = jnp.split(x[0], parts, axis=-1)
    return tuple(half[..., :P] for half in x)

  states, final = _linear_vjp.scan_parts(
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
