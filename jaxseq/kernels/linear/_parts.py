"""Complex numbers as parts, and options, for all chips' linear kernels."""

from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jaxseq.recurrence.platform import support

# A real array, or real and imaginary parts.
Parts: TypeAlias = tuple[jax.Array, ...]


class Walk(NamedTuple):
  """Static direction and tiles of a kernel along time."""

  form: support.Form  # see `support.form`
  tile: int  # elements per tile
  stages: int  # tiles in flight at a time, on GPUs
  # whether the recurrence runs from the last element to the first
  reverse: bool
  # whether the parts are halves of the last axis of one array, on GPUs
  joined: bool


def add(x: Parts, y: Parts) -> Parts:
  """Returns x + y."""
  return tuple(map(jnp.add, x, y))


def times(x: Parts, y: Parts) -> Parts:
  """Returns x y."""
  if len(x) == 1:
    return (x[0] * y[0],)
  return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def conj(x: Parts) -> Parts:
  """Returns the complex conjugate."""
  return x if len(x) == 1 else (x[0], -x[1])


def select(flag: jax.Array | None, x: Parts, y: Parts | float) -> Parts:
  """Selects `x` if a float32 flag is above 0, else `y`."""
  if flag is None:
    return x
  other = y if isinstance(y, tuple) else (y,) * len(x)
  return tuple(jnp.where(flag > 0, *pair) for pair in zip(x, other))


def split(x: jax.Array) -> Parts:
  """Returns the parts of a real or complex array."""
  return (jnp.real(x), jnp.imag(x)) if jnp.iscomplexobj(x) else (x,)


def join(x: Parts) -> jax.Array:
  """Undoes `split`."""
  return x[0] if len(x) == 1 else jax.lax.complex(*x)
