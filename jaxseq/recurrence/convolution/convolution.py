"""Causal convolutions along time, one kernel per channel."""

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _contractions

# Elements of the smallest blocks within a chunk.
_BLOCK = 32
_BLOCK_WITH_RESETS = 4


def fft_convolution(
  u: jax.Array, kernel: jax.Array, backward: jax.Array | None = None
) -> jax.Array:
  """Causal convolution of whole sequences: y_t = sum_{s <= t} K_{t-s} u_s.

  Args:
    u: (*batch, time, H) real.
    kernel: (H, time) real.
    backward: (H, time) real kernel for later elements, which adds sum_{s > t}
      backward_{s-t-1} u_s; or None.

  Returns:
    (*batch, time, H) in the common dtype, at least float32.

  Raises:
    ValueError: if shapes do not fit.
  """
  *_, time, H = validate.shape("u", u, ("*batch", "time", "H"))
  validate.shape("kernel", kernel, (H, time))
  _checks.shape("backward", backward, (H, time))
  dtype = jnp.result_type(u, kernel, jnp.float32)
  # Padded to the whole product, so that nothing wraps around, and to a power of
  # two, at which every FFT is fast.
  room = 1 << (2 * time - 1).bit_length()
  spectrum = jnp.fft.rfft(u.swapaxes(-1, -2).astype(dtype), room)
  kernel = kernel.astype(dtype)
  if backward is not None:
    # Lags -1, -2, ... are the last, the last but one, ... entries of the
    # circle.
    lags = jnp.flip(backward.astype(dtype), -1)
    gap = jnp.zeros((len(kernel), room - 2 * time), dtype)
    kernel = jnp.concatenate([kernel, gap, lags], axis=-1)
  spectrum = spectrum * jnp.fft.rfft(kernel, room)
  return jnp.fft.irfft(spectrum, room)[..., :time].swapaxes(-1, -2)


def chunk_convolution(
  kernel: jax.Array, u: jax.Array, ids: jax.Array | None
) -> jax.Array:
  """Causal convolution within chunks; t sees s if both have one id.

  The triangle of all pairs (t, s) is cut into squares, by halving. In a square,
  the ids say which s are visible from its end and which t see its beginning: it
  is a select, a matrix product and another select. Elements that are not
  visible may be undefined.

  Args:
    kernel: (H, L), L a power of two.
    u: (H, L, R): channels, elements of a chunk, and chunks, which are adjacent
      in memory.
    ids: (L, R) integers that do not fall along a chunk; None if all are equal.

  Returns:
    (H, L, R) in the dtype of the kernel; with u in bfloat16 the products are.
  """
  H, size, R = u.shape
  width = min(size, _BLOCK if ids is None else _BLOCK_WITH_RESETS)
  y = (_triangles if ids is None else _diagonals)(kernel, u, ids, width)
  while width < size:
    # Squares: the first halves of blocks of 2 * width, seen by the second
    # halves.
    shape = (size // (2 * width), 2, width, R)
    seen = u.reshape(H, *shape)[:, :, 0]
    if ids is not None:
      flags = ids.reshape(shape)
      border = flags[:, 0, -1:]
      seen = jnp.where(flags[:, 0] == border, seen, 0)
    square = _toeplitz(kernel, width, width)
    seen = _contractions.einsum("hts,hpsr->hptr", square, seen, u.dtype)
    if ids is not None:
      seen = jnp.where(flags[:, 1] == border, seen, 0)
    y = y.reshape(H, *shape)
    y = jnp.stack([y[:, :, 0], y[:, :, 1] + seen], axis=2)
    width *= 2
  return y.reshape(H, size, R)


def _toeplitz(kernel, size, shift):
  """(H, size, size): kernel[shift + t - s], and 0 for negative lags."""
  lag = shift + jnp.arange(size)[:, None] - jnp.arange(size)
  # One gather of whole rows of channels.
  square = jnp.take(kernel.T, jnp.maximum(lag, 0), axis=0)
  return jnp.where(lag >= 0, jnp.moveaxis(square, -1, 0), 0)


def _triangles(kernel, u, ids, width):
  """Computes the diagonal blocks as one matrix product."""
  del ids
  H, size, R = u.shape
  u = u.reshape(H, size // width, width, R)
  square = _toeplitz(kernel, width, 0)
  return _contractions.einsum("hts,hpsr->hptr", square, u, u.dtype)


def _diagonals(kernel, u, ids, width):
  """Computes the diagonal blocks lag by lag, with a flag for each pair."""
  H, size, R = u.shape
  u = u.reshape(H, size // width, width, R)
  ids = ids.reshape(size // width, width, R)
  rows = []
  for t in range(width):
    row = kernel[:, 0, None, None] * u[:, :, t]
    for s in range(t):
      seen = jnp.where(ids[:, s] == ids[:, t], u[:, :, s], 0)
      row = row + kernel[:, t - s, None, None] * seen
    rows.append(row)
  return jnp.stack(rows, axis=2)
