"""`lti_scan` by kernels: two large matrix products around the scan of states.

The states of a whole chunk of time lie in memory between the products; a chunk
is as long as a bound on that memory lets it be, and is computed again in the
backward pass.
"""

import functools

import jax
import jax.numpy as jnp

from jaxseq.recurrence import _chunks
from jaxseq.recurrence.kernels import linear
from jaxseq.recurrence.kernels import linear_parts


def run(
  system,
  u: jax.Array,
  init: linear_parts.Parts,
  reset: jax.Array | None,
  *,
  reverse: bool,
  chunk_size: int,
  **options: int,
) -> tuple[jax.Array, linear_parts.Parts]:
  """Y_t = Re(C h_t) + D u_t over h_t = a h_{t-1} + B u_t.

  Args:
    system: `lti`'s, in real form: a by parts [P], w_in [H, S], w_out [S, M] and
      D [M] or None, where S is P for each part.
    u: [B, T, H] inputs.
    init: by parts [B, P].
    reset: [B, T] bool, or None.
    reverse: run from the last element to the first.
    chunk_size: elements whose states are held at once.
    **options: of `linear.scan`.

  Returns:
    [B, T, M] in the dtype of u, and the last state by parts [B, P].
  """
  turned = reverse and u.shape[1] > chunk_size
  if turned:
    # Chunks follow each other from the first on.
    u = u[:, ::-1]
    reset = None if reset is None else reset[:, ::-1]
  function = functools.partial(
    _chunk, reverse and not turned, tuple(options.items())
  )
  carry, y = _chunks.over_chunks(
    function, chunk_size, (tuple(system), init), u, reset
  )
  return y[:, ::-1] if turned else y, carry[1]


def _chunk(reverse, options, carry, u, reset):
  """One chunk, in the form of `_chunks.over_chunks`."""
  (a, w_in, w_out, D), h = system, _ = carry
  parts, dtype = len(a), w_in.dtype
  wide = u.astype(dtype)
  b = linear_parts.join(tuple(wide @ w for w in jnp.split(w_in, parts, axis=1)))
  states, final = linear.scan(
    linear_parts.join(a)[None, None],
    b,
    linear_parts.join(h),
    reset,
    reverse=reverse,
    **dict(options),
  )
  weights = jnp.split(w_out, parts)
  y = sum(x @ w for x, w in zip(linear_parts.split(states), weights))
  if D is not None:
    y = y + D * wide
  return (system, linear_parts.split(final)), y.astype(u.dtype)
