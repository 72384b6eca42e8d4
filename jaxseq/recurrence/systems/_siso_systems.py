"""Parallel systems in real form, their powers, and their impulse responses.

A transition is a pair of (H, N), real and imaginary part of a diagonal, with
states [..., 2N]; or (H, N) a real diagonal; or (H, N, N) real.
"""

import jax
from jax import lax
import jax.numpy as jnp

Transition = tuple[jax.Array, jax.Array] | jax.Array


def chunk_size(time, states):
  """Elements per chunk, a power of two."""
  size = min(64, max(16, states))
  return 1 << (min(size, time) - 1).bit_length()


def section(channels, size):
  """Length of time of one section, for that many channels in all rows."""
  # Whole chunks of `size`: at least 8, and 32 MB in float32.
  return size * max(8, 2**23 // (channels * size))


def real_form(A, B, C, *others):
  """A, B and C as real arrays of one dtype, and whether they were complex."""
  arrays = [x for x in (A, B, C, *others) if x is not None]
  is_complex = any(jnp.iscomplexobj(x) for x in arrays)
  dtype = jnp.result_type(*(jnp.real(x) for x in arrays), jnp.float32)
  if is_complex:
    A = tuple(part(A).astype(dtype) for part in (jnp.real, jnp.imag))
    # Re(C x) = Re C Re x - Im C Im x.
    C = jnp.conj(C)
  else:
    A = jnp.asarray(A, dtype)
  B, C = (joined_parts(x, is_complex).astype(dtype) for x in (B, C))
  return A, B, C, is_complex


def joined_parts(x, is_complex):
  """Real parts before imaginary parts along the last axis."""
  if not is_complex:
    return jnp.asarray(x)
  return jnp.concatenate([jnp.real(x), jnp.imag(x)], axis=-1)


def times(A, x):
  """Product A x for x [H, S, ...]."""
  if isinstance(A, tuple):
    a, b = (_as_column(part, x) for part in A)
    re, im = jnp.split(x, 2, axis=1)
    return jnp.concatenate([a * re - b * im, a * im + b * re], axis=1)
  if A.ndim == 2:
    return _as_column(A, x) * x
  return jnp.einsum("hij,hj...->hi...", A, x, precision="highest")


def _as_column(a, x):
  return a.reshape(a.shape + (1,) * (x.ndim - 2))


def transpose(A):
  if isinstance(A, tuple):
    return A[0], -A[1]
  return A if A.ndim == 2 else A.swapaxes(1, 2)


def _square(A):
  if isinstance(A, tuple):
    a, b = A
    return (a - b) * (a + b), 2 * a * b
  if A.ndim == 2:
    return A * A
  return jnp.einsum("hij,hjk->hik", A, A, precision="highest")


def all_powers(A, count):
  """Powers [A, A^2, A^4, ...]; A^count is last for a count 2^n."""
  powers = [A]
  while 1 << (len(powers) - 1) < count:
    powers.append(_square(powers[-1]))
  return powers


def orbit_of(powers, x, count):
  """[x, A x, A^2 x, ...] by doubling: x [H, S] -> [H, S, count]."""
  orbit = x[..., None]
  for power in powers:
    if orbit.shape[-1] >= count:
      break
    orbit = jnp.concatenate([orbit, times(power, orbit)], axis=-1)
  return orbit[..., :count]


def advance(powers, x, count):
  """A^count x, from A, A^2, A^4, ..."""
  for bit, power in enumerate(powers):
    if count >> bit & 1:
      x = times(power, x)
  return x


def response(
  A: jax.Array, C: jax.Array, state: jax.Array, length: int
) -> jax.Array:
  """Outputs Re(C A^(t+1) state) (*batch, length, H) without inputs."""
  # Products of matrices for all states in a scan, one for each chunk of
  # elements. A is (H, N) or (H, N, N), C (H, N), states (*batch, H, N).
  *batch, H, N = state.shape
  A, x, C, _ = real_form(A, state.reshape(-1, H, N), C)
  size = chunk_size(length, C.shape[-1])
  count = -(-length // size)
  powers = all_powers(A, size)
  transposed = [transpose(power) for power in powers]
  read_out = orbit_of(transposed, times(transposed[0], C), size)
  starts = orbit_of(all_powers(powers[-1], count), jnp.moveaxis(x, 0, 2), count)
  y = jnp.einsum("hsl,hsrc->rclh", read_out, starts)
  return y.reshape(*batch, count * size, H)[..., :length, :]


def apply(A: jax.Array, state: jax.Array) -> jax.Array:
  """A state for state (*batch, H, N) and A (H, N) or (H, N, N)."""
  if A.ndim == 2:
    return A * state
  return jnp.einsum("hij,...hj->...hi", A, state, precision="highest")


def power(A: jax.Array, count: int) -> jax.Array:
  """A^count of (H, N) or (H, N, N), by repeated squaring."""
  if A.ndim == 2:
    return lax.integer_pow(A, count)
  power, squares = None, A
  while count:
    if count & 1:
      power = squares if power is None else power @ squares
    count >>= 1
    squares = _square(squares) if count else squares
  return power
