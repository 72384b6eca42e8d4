"""Kernel calls: integer width, result types, padding, interpreter."""

from collections.abc import Callable
import functools
from typing import TypeVar

import jax
import jax.numpy as jnp

from jaxseq.recurrence.platform import support

_T = TypeVar("_T")


def in_32_bits(call: Callable[..., _T]) -> Callable[..., _T]:
  """Wraps a function that calls a kernel, to use 32-bit integers inside.

  Pallas does not lower 64-bit integers, which Python's numbers are with
  `jax_enable_x64`.
  """

  @functools.wraps(call)
  def narrow(*arguments, **named):
    with jax.enable_x64(False):
      return call(*arguments, **named)

  return narrow


def interpreter(form: support.Form):
  """Returns `interpret=` of `pl.pallas_call` or `plgpu.kernel`."""
  if not form.interpret:
    return False
  if form.chip == "tpu":
    return True
  from jax.experimental.pallas import mosaic_gpu as plgpu

  return plgpu.InterpretGPUParams()


def varying(
  like: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype
) -> jax.ShapeDtypeStruct:
  """Returns a result type that varies over devices like an argument.

  Args:
    like: the argument; ignored outside `jax.shard_map`.
    shape: shape of the result.
    dtype: dtype of the result.
  """
  varies = jax.typeof(like).manual_axis_type
  return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=varies)


def padded(
  x: jax.Array, axis: int, multiple: int, fill: float = 0
) -> jax.Array:
  """Pads the end of an axis with `fill`, up to a multiple of a size."""
  missing = -x.shape[axis] % multiple
  if not missing:
    return x
  widths = [(0, 0)] * x.ndim
  widths[axis] = (0, missing)
  return jnp.pad(x, widths, constant_values=fill)


def cut(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Removes the padding of an array."""
  return x[tuple(map(slice, shape))]
