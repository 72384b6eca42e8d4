"""Block floating point: few bits per number, and one exponent per block.

A block of n channels shares the exponent E of its largest number, 8 bits, and
each has a mantissa of `bits` bits with its sign: bits + 8 / n bits for a
number. With K-sort the channels of a key are ordered by the norms of the
weights that compute them, so that the large ones share blocks. Trukhanov and
Soloveychik, "Accurate block quantization in LLMs with outliers",
arXiv:2403.20137, which does not specify the rounding: here it is half to even,
and mantissas are clipped.
"""

import dataclasses
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate

# The lowest exponent, also of zeros, the highest, and that of a block that is
# not finite.
_LOWEST, _HIGHEST, _UNDEFINED = -126, 127, -128


@dataclasses.dataclass(frozen=True)
class BlockFloat:
  """Format in which keys are stored.

  Attributes:
    bits: bits of a mantissa, including its sign: 2 to 8.
    block: number of channels that share an exponent, a divisor of their number.
    order: order of the channels in blocks: as "given", or by "norm", the
      largest first. Channels that rotary positions rotate together stay
      together.
  """

  bits: int = 4
  block: int = 32
  order: Literal["given", "norm"] = "given"

  def __post_init__(self):
    validate.literals(self)
    validate.integer("bits", self.bits, 2)
    if self.bits > 8:
      raise validate.error("bits", self.bits, "an integer from 2 to 8")
    validate.integer("block", self.block, 1)


def quantize(
  x: jax.Array, bits: int, block: int
) -> tuple[jax.Array, jax.Array]:
  """Rounds numbers to mantissas and exponents.

  E = floor(log2 max |x|) within -126 and 127, -126 for a block of zeros, and
  mantissas round(x / 2^(E - bits + 2)), half to even, within +-(2^(bits - 1) -
  1). Numbers that float32 represents give the same in float32 and float64.

  Args:
    x: (..., d), real.
    bits: bits of a mantissa.
    block: number of neighboring channels of a block, a divisor of d.

  Returns:
    Mantissas (..., d) and exponents (..., d / block), int8. A block with a
    number that is not finite has the exponent -128.

  Raises:
    ValueError: if there is no such format, or the block is not a divisor.
  """
  BlockFloat(bits, block)
  width = x.shape[-1]
  if width % block:
    raise validate.error("block", block, f"a divisor of {width} channels")
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  blocks = lax.stop_gradient(x).reshape(*x.shape[:-1], -1, block)
  finite = jnp.all(jnp.isfinite(blocks), axis=-1, keepdims=True)
  # The fraction of each number relative to the next power of two, 1/2 or more:
  # no digit is lost, and no scale is outside of the range of float32.
  share, power = _parts(jnp.where(finite, blocks, 0))
  power = jnp.where(share == 0, _LOWEST, power - 1)
  exponent = jnp.max(power, axis=-1, keepdims=True)
  exponent = jnp.clip(exponent, _LOWEST, _HIGHEST)
  # A shift of more than 30 bits gives 0.
  shift = jnp.clip(power - exponent + bits - 1, -30, bits)
  most = 2 ** (bits - 1) - 1
  mantissas = jnp.round(share * _power_of_two(shift, share.dtype))
  mantissas = jnp.clip(mantissas, -most, most).astype(jnp.int8)
  exponent = jnp.where(finite, exponent, _UNDEFINED).astype(jnp.int8)
  return mantissas.reshape(x.shape), exponent[..., 0]


def dequantize(
  mantissas: jax.Array,
  exponents: jax.Array,
  bits: int,
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> jax.Array:
  """Returns mantissas 2^(E - bits + 2), as `quantize` made them.

  Args:
    mantissas: (..., d) int8.
    exponents: (..., d / block) int8.
    bits: bits of a mantissa.
    dtype: dtype of the result, which represents all of these numbers exactly,
      except that XLA flushes subnormal numbers to zero.

  Returns:
    (..., d); NaN in blocks that were not finite.
  """
  block = mantissas.shape[-1] // exponents.shape[-1]
  exponents = jnp.repeat(exponents.astype(jnp.int32), block, axis=-1)
  wide = jnp.promote_types(dtype, jnp.float32)
  # In two factors, both in the range of float32.
  half = (exponents - bits + 2) // 2
  x = mantissas.astype(wide) * _power_of_two(half, wide)
  x = x * _power_of_two(exponents - bits + 2 - half, wide)
  return jnp.where(exponents == _UNDEFINED, jnp.nan, x).astype(dtype)


def channel_order(norms: jax.Array, turned: int = 0) -> jax.Array:
  """Returns the channels of each head by their norms, the largest first.

  Args:
    norms: (..., d) norms of the weights that compute the channels.
    turned: number of channels, the first ones, in which rotary positions rotate
      each of the first half with one of the second. These come first, in
      adjacent pairs, by the larger norm of the two.

  Returns:
    (..., d) int32; among equal norms, the lower channel first.
  """
  half = turned // 2
  pairs = jnp.maximum(norms[..., :half], norms[..., half:turned])
  pairs = jnp.argsort(-pairs, axis=-1, stable=True)
  pairs = jnp.stack([pairs, pairs + half], axis=-1)
  rest = jnp.argsort(-norms[..., turned:], axis=-1, stable=True) + turned
  pairs = pairs.reshape(*norms.shape[:-1], turned)
  return jnp.concatenate([pairs, rest], axis=-1).astype(jnp.int32)


def _parts(x):
  """Splits numbers into share * 2^power with 1/2 <= |share| < 1, or 0."""
  if x.dtype != jnp.float32:
    return jnp.frexp(x)
  # XLA flushes subnormal numbers to zero: their bits are read.
  raw = lax.bitcast_convert_type(x, jnp.int32)
  digits = raw & 0x7FFFFFFF
  tiny = digits < 2**23
  share, power = jnp.frexp(jnp.where(tiny, digits.astype(x.dtype), jnp.abs(x)))
  return jnp.where(raw < 0, -share, share), power - 149 * tiny


def _power_of_two(exponent, dtype):
  """Returns exactly 2^exponent, for integer exponents of normal numbers."""
  return jnp.ldexp(jnp.ones((), dtype), exponent)
