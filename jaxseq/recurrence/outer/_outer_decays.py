"""Sums of log-decays over a chunk, and the weights computed from them.

With s_t the sum up to element t, t reads j <= t with weight exp(s_t - s_j).
Such exponents are sums of decays: exp(s_t) exp(-s_j) would overflow.
"""

import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _contractions

# Below this many elements, a triangle of decays per channel is computed pair by
# pair.
_SMALLEST_HALF = 4


class Sums(NamedTuple):
  """Inclusive sums over time of log-decays, in two parts.

  The differences of sums are needed, and after a strong decay a plain float32
  sum has lost the digits of the weak ones. `high` sums multiples of a power of
  two so coarse that no addition rounds; `low` sums the small remainders.
  """

  high: jax.Array
  low: jax.Array

  def __getitem__(self, index):
    return Sums(self.high[index], self.low[index])

  def __sub__(self, other):
    return (self.high - other.high) + (self.low - other.low)

  def total(self) -> jax.Array:
    """Returns the sums; exact only if they are small."""
    return self.high + self.low


def _lowest(dtype):
  """A log-decay whose exponential is zero in the dtype."""
  return 2 * math.log(jnp.finfo(dtype).tiny)


def clamp(a: jax.Array) -> jax.Array:
  """Bounds log-decays from below, where the exponential is 0 anyway."""
  return jnp.maximum(a, _lowest(a.dtype))


def log_decay_sums(a: jax.Array) -> Sums:
  """Sums of a [..., C, A] over time."""
  C = a.shape[-2]
  lowest = _lowest(a.dtype)
  bits = jnp.finfo(a.dtype).nmant + 1
  unit = 2.0 ** (math.ceil(math.log2(-lowest * C)) - bits)
  a = clamp(a)
  high = jnp.round(a / unit) * unit
  triangle = jnp.tril(jnp.ones((C, C), a.dtype))
  return Sums(_over_time(triangle, high), _over_time(triangle, a - high))


def d_log_decay(
  d_sums: jax.Array,
  a: jax.Array,
  begins: jax.Array | None,
  early: jax.Array | None = None,
) -> jax.Array:
  """Cotangents of the log-decays [..., C, A], from those of their sums."""
  C = a.shape[-2]
  later = jnp.triu(jnp.ones((C, C), bool))
  if begins is None:
    da = _over_time(later.astype(d_sums.dtype), d_sums)
  else:
    episode = jnp.cumsum(begins, axis=-2, dtype=jnp.int32)
    if a.shape[-1] == 1:
      da = _to_the_end(d_sums, episode)
    else:
      later = later & (episode == episode.swapaxes(-1, -2))
      da = _over_time(later.astype(d_sums.dtype), d_sums)
  if early is not None:
    da = da - early
  unused = a < _lowest(a.dtype)
  return jnp.where(unused if begins is None else unused | begins, 0, da)


def _to_the_end(x, episode):
  """Sums of x [..., C, 1] from each element to the last of its episode."""
  C, bit = x.shape[-2], 1

  def later(leaf):
    cut = leaf[..., bit:, :]
    nothing = jnp.zeros_like(leaf[..., :bit, :])
    return jnp.concatenate([cut, nothing], axis=-2)

  # Episodes count from 1; zeros follow the chunk.
  episode = episode + 1
  while bit < C:
    x = x + jnp.where(later(episode) == episode, later(x), 0)
    bit *= 2
  return x


def _over_time(matrix, x):
  """The product of matrix [..., C, C] and x [..., C, A]."""
  if x.shape[-1] == 1 and matrix.ndim == 2:
    flat = x.reshape(-1, x.shape[-2])
    y = lax.dot(flat, matrix.T, precision=lax.Precision.HIGHEST)
    return y.reshape(x.shape)
  return _contractions.dot(matrix, x, -1, -2, exact=True)


def exp_where(mask: jax.Array | None, exponent: jax.Array) -> jax.Array:
  """Returns the exponential, and 0 if the mask is false."""
  return jnp.exp(
    exponent if mask is None else jnp.where(mask, exponent, -jnp.inf)
  )


def scores(
  q: jax.Array, k: jax.Array, sums: Sums, operands: jax.typing.DTypeLike
) -> jax.Array:
  """Sums over d of q_t exp(s_t - s_j) k_j for j <= t: [..., C, C]."""
  # The later half reads the earlier one through the sum at the border between
  # them: both exponents are sums of decays. The same is done within both halves
  # in parallel, so that a channel takes 2 log(C) exponentials per element.
  # Entries above the diagonal are meaningless. Decayed arrays are rounded to
  # `operands` for the products.
  shape = jnp.broadcast_shapes(q.shape, sums.high.shape)
  C, K = shape[-2:]
  size = _SMALLEST_HALF
  while size < C:
    size *= 2

  def padded(leaf, mode):
    leaf = jnp.broadcast_to(leaf, shape).reshape(-1, C, K)
    return jnp.pad(leaf, ((0, 0), (0, size - C), (0, 0)), mode=mode)

  pairs = _triangle(
    padded(q, "constant"),
    padded(k, "constant"),
    Sums(*(padded(part, "edge") for part in sums)),  # Decays of 1.
    operands,
  )
  return pairs[:, :C, :C].reshape(*shape[:-1], C)


def _triangle(q, k, sums, operands):
  """Computes `scores` of [B, C, K] for C a power of two."""
  B, C, K = q.shape
  if C <= _SMALLEST_HALF:
    difference = sums[:, :, None] - sums[:, None]
    lower = jnp.tril(jnp.ones((C, C), bool))[..., None]
    decays = exp_where(lower, difference)
    products = q[:, :, None] * decays * k[:, None]
    return _contractions.sum_over(products, -1)[..., 0]
  half = C // 2
  halves = [leaf.reshape(B, 2, half, K) for leaf in (q, k, *sums)]
  high_low = Sums(*halves[2:])
  earlier, later = high_low[:, 0], high_low[:, 1]
  border = earlier[:, -1:]
  q_later = halves[0][:, 1] * jnp.exp(later - border)
  k_earlier = halves[1][:, 0] * jnp.exp(border - earlier)
  across = _contractions.dot(q_later, k_earlier, -1, -1, operands=operands)
  q, k, *parts = (leaf.reshape(2 * B, half, K) for leaf in halves)
  inside = _triangle(q, k, Sums(*parts), operands)
  inside = inside.reshape(B, 2, half, half)
  upper = jnp.concatenate([inside[:, 0], jnp.zeros_like(across)], axis=-1)
  lower = jnp.concatenate([across, inside[:, 1]], axis=-1)
  return jnp.concatenate([upper, lower], axis=-2)
