"""Parts of complex numbers and options, for the linear kernels of all chips."""

from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jaxseq.recurrence.platform import support

# A real array, or real and imaginary part.
Parts: TypeAlias = tuple[jax.Array, ...]


class Walk(NamedTuple):
  """Direction and tiles of a kernel along time: static."""

  form: support.Form  # as `support.form` gives it
  tile: int  # elements per tile
  stages: int  # tiles under way at a time, on GPUs
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
  """The complex conjugate."""
  return x if len(x) == 1 else (x[0], -x[1])


def select(flag: jax.Array | None, x: Parts, y: Parts | float) -> Parts:
  """Takes `x` where a flag of float32 is above 0, `y` elsewhere."""
  if flag is None:
    return x
  other = y if isinstance(y, tuple) else (y,) * len(x)
  return tuple(jnp.where(flag > 0, *pair) for pair in zip(x, other))


def split(x: jax.Array) -> Parts:
  """The parts of a real or complex array."""
  return (jnp.real(x), jnp.imag(x)) if jnp.iscomplexobj(x) else (x,)


def join(x: Parts) -> jax.Array:
  """The inverse of `split`."""
  return x[0] if len(x) == 1 else jax.lax.complex(*x)
