"""Time-invariant diagonal systems with the output fused into the scan.

    h_t = Lambda_bar * h_{t-1} + B_bar u_t        (reset: h_{t-1} taken as 0)
    y_t = Re(C h_t) + D * u_t

The states of all T elements would need far more memory than inputs and outputs.
Here time is cut into chunks: a chunk's inputs are projected, its states
computed, and its outputs computed before the next chunk. The backward pass
keeps the state at each chunk boundary and recomputes the rest.
"""

import functools
import math

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.systems import _lti_chunk
from jaxseq.recurrence.systems import _lti_sharded


def lti_scan(
  Lambda_bar: jax.Array,
  B_bar: jax.Array,
  C: jax.Array,
  u: jax.Array,
  init: jax.Array | None = None,
  *,
  D: jax.Array | None = None,
  reset: jax.Array | None = None,
  reverse: bool = False,
  chunk_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Runs y_t = Re(C h_t) + D u_t over h_t = Lambda_bar h_{t-1} + B_bar u_t.

  The layer of S5 (Smith et al., "Simplified state space layers for sequence
  modeling", arXiv:2208.04933, section 3) with conjugate symmetry is this with
  2 C. Memory beyond inputs and outputs grows with time / chunk_size, in the
  gradient too.

  Args:
    Lambda_bar: (P,) discretized eigenvalues, real or complex.
    B_bar: (P, H) input matrix, real or complex.
    C: (M, P) output matrix, real or complex.
    u: (*batch, time, H) real inputs.
    init: (*batch, P) state before the first element; zeros if None.
    D: (M,) feed-through, element by element; needs M == H. Absent if None.
    reset: (*batch, time) bool; if true, the state is reset to zeros (not
      to `init`) before that element is consumed.
    reverse: run from the last element to the first.
    chunk_size: elements per chunk; by platform and batch size if None.
    method: how the states inside a chunk are computed: "sequential",
      "associative", "chunked", "pallas" or "auto", as in `linear_scan`.
    axis: name of the mesh axis over which time is split, as in `linear_scan`.

  Returns:
    Outputs (*batch, time, M) in the dtype of `u`, and the state (*batch, P)
    after the element that was consumed last; it is complex if any of
    Lambda_bar, B_bar, C and init is. Computed in float32 or wider.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
    NotImplementedError: if the method is "pallas", and no kernel runs here.
  """
  if axis is not None:
    run = functools.partial(
      lti_scan, reverse=reverse, chunk_size=chunk_size, method=method
    )
    where = {"reset": reset, "axis": axis, "reverse": reverse}
    return _lti_sharded.lti_scan(
      run, Lambda_bar, B_bar, C, u, init, D=D, **where
    )
  u = jnp.asarray(u)
  batch, time, rows = _check(Lambda_bar, B_bar, C, D, u, init, reset)
  validate.choice("method", method, linear.KERNEL_METHODS)
  if chunk_size is not None:
    chunk_size = min(validate.positive("chunk_size", chunk_size), time)
  arrays = (Lambda_bar, B_bar, C) + (() if init is None else (init,))
  is_complex = any(jnp.iscomplexobj(x) for x in arrays)
  real = jnp.result_type(*(jnp.real(x) for x in arrays), u, jnp.float32)

  def parts(x):
    x = jnp.asarray(x)
    halves = (jnp.real(x), jnp.imag(x)) if is_complex else (x,)
    return tuple(half.astype(real) for half in halves)

  C_parts = parts(C)
  system = _lti_chunk.System(
    a=parts(Lambda_bar),
    w_in=jnp.concatenate(parts(B_bar), axis=0).T,
    # Re(C h) = Re C Re h - Im C Im h.
    w_out=jnp.concatenate((C_parts[0],) + tuple(-x for x in C_parts[1:]), 1).T,
    D=None if D is None else jnp.asarray(D, real),
  )
  P = jnp.shape(Lambda_bar)[0]
  if init is None:
    init = jnp.zeros_like(u, real, shape=batch + (P,))
  flat = u.reshape((rows, time) + u.shape[-1:])
  init = tuple(x.reshape(rows, P) for x in parts(init))
  reset = None if reset is None else reset.reshape(rows, time)

  def run(*arguments, method, chunk_size, **options):
    if method == "pallas":
      form = support.form("lti", real)
      options |= {"reverse": bool(reverse), "chunk_size": chunk_size}
      return registry.find("lti", form.chip)(form, *arguments, **options)
    how = _lti_chunk.Options(bool(reverse), method, chunk_size)
    return _lti_chunk.run(*arguments, how)

  y, final = choice.by_platform(
    "lti",
    real,
    (rows, time, u.shape[-1], P),
    run,
    *(system, flat, init, reset),
    method=method,
    chunk_size=chunk_size,
  )
  y = y.reshape(u.shape[:-1] + y.shape[-1:])
  return y, _lti_chunk.join(final).reshape(batch + (P,))


def _check(Lambda_bar, B_bar, C, D, u, init, reset):
  """Checks shapes and dtypes; returns batch shape, time and batch size."""
  (P,) = validate.shape("Lambda_bar", Lambda_bar, ("P",))
  H = validate.shape("u", u, ("*batch", "time", "H"))[-1]
  _checks.floating(u=u)
  validate.shape("B_bar", B_bar, (P, H))
  M, _ = validate.shape("C", C, ("M", P))
  if D is not None and not jnp.shape(D) == (M,) == (H,):
    raise validate.error(
      "D", f"shape {jnp.shape(D)} with M = {M} and H = {H}", "(M,) with M == H"
    )
  batch, time = u.shape[:-2], u.shape[-2]
  _checks.shape("init", init, batch + (P,))
  _checks.reset(reset, batch + (time,))
  return batch, time, math.prod(batch)
