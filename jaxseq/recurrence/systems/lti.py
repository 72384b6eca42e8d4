"""Time-invariant diagonal systems with the output fused into the scan.

    h_t = Lambda_bar * h_{t-1} + B_bar u_t        (reset: h_{t-1} taken as 0)
    y_t = Re(C h_t) + D * u_t

The states of all T elements would need far more memory than inputs and outputs.
Here time is cut into chunks: a chunk's inputs are projected, its states
computed, and its outputs computed before the next chunk. The backward pass
keeps the state at each chunk boundary and recomputes the rest.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _recurrences
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
  x = _Inputs(Lambda_bar, B_bar, C, u, D)
  options = {"reverse": reverse, "chunk_size": chunk_size, "method": method}
  return _recurrences.scan(_LTI, x, init, reset, axis=axis, **options)


class _Inputs(NamedTuple):
  Lambda_bar: jax.Array
  B_bar: jax.Array
  C: jax.Array
  u: jax.Array
  D: jax.Array | None


def _check(x, sizes):
  """Checks the feed-through."""
  M, H = sizes["M"], sizes["H"]
  if x.D is not None and not x.D.shape == (M,) == (H,):
    got = f"shape {x.D.shape} with M = {M} and H = {H}"
    raise validate.error("D", got, "(M,) with M == H")


def _real(call):
  return jnp.finfo(call.dtype).dtype


def _run(call, x, init, reset, *, reverse, method, chunk_size, **options):
  """Runs the system in real form."""
  is_complex = jnp.issubdtype(call.dtype, jnp.complexfloating)
  real = _real(call)

  def parts(z):
    halves = (jnp.real(z), jnp.imag(z)) if is_complex else (z,)
    return tuple(half.astype(real) for half in halves)

  C_parts = parts(x.C)
  system = _lti_chunk.System(
    a=parts(x.Lambda_bar),
    w_in=jnp.concatenate(parts(x.B_bar), axis=0).T,
    # Re(C h) = Re C Re h - Im C Im h.
    w_out=jnp.concatenate((C_parts[0],) + tuple(-z for z in C_parts[1:]), 1).T,
    D=None if x.D is None else x.D.astype(real),
  )
  arguments = system, x.u, parts(init), reset
  if method == "pallas":
    form = support.form("lti", real)
    options |= {"reverse": bool(reverse), "chunk_size": chunk_size}
    kernel = registry.find("lti", form.chip)
    y, final = kernel(form, *arguments, **options)
  else:
    settings = _lti_chunk.Options(bool(reverse), method, chunk_size)
    y, final = _lti_chunk.run(*arguments, settings)
  return y, _lti_chunk.join(final)


_LTI = _recurrences.Recurrence(
  arguments="Lambda_bar: any P; u: *batch time H; B_bar: any P H; C: any M P;"
  " init?: any *batch P",
  run=_run,
  methods=linear.KERNEL_METHODS,
  chosen=lambda call, x: ("lti", _real(call), call.shape("time H P")),
  check=_check,
  part=_lti_sharded.part,
)
