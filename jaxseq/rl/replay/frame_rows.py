"""Rows of frames on the device, for a replay, and stacks of frames.

A frame is kept as rows of 128 numbers, the last one filled up with zeros: the
tiles of a TPU's memory. Small images as they are would take many times their
size there, and with one flat row per frame the whole ring would be transposed
between writing and reading. Elsewhere rows lie one behind the other, as a flat
frame would.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

_ROW = 128


def init(
  capacity: int, frame_shape: tuple[int, ...], dtype: str = "uint8"
) -> Array:
  """Returns blank frames, (capacity, rows, 128) of a dtype."""
  rows = math.ceil(math.prod(frame_shape) / _ROW)
  return jnp.zeros((capacity, rows, _ROW), dtype)


def write(frames: Array, frame: Array, slot: Array) -> Array:
  """Puts a frame of any shape in a slot, () int32."""
  rows = frames.shape[1]
  flat = jnp.pad(frame.reshape(-1), (0, rows * _ROW - frame.size))
  return jax.lax.dynamic_update_slice_in_dim(
    frames, flat.reshape(1, rows, _ROW), slot, 0
  )


def stacks(
  frames: Array,
  done: Array,
  slot: Array,
  stack: int,
  frame_shape: tuple[int, ...],
) -> Array:
  """Returns stacks (*batch, *stacked_shape(frame_shape, stack)) of frames.

  From rows (capacity, rows, 128) and whether an episode ended after them,
  (capacity,) bool. The newest frame, which comes last, is that of the slot
  (*batch,), modulo the capacity. Those from before an end of an episode are 0.
  """
  back = np.arange(stack - 1, -1, -1, dtype=np.int32)
  place = (slot[..., None] - back) % frames.shape[0]
  # A frame is of the same episode if there is no end from it to the last one.
  ended = done[place].at[..., -1].set(False)
  ends = jax.lax.cumsum(ended.astype(jnp.int32), ended.ndim - 1, reverse=True)
  flat = frames[place].reshape(*place.shape, -1)[..., : math.prod(frame_shape)]
  flat = jnp.where(ends[..., None] == 0, flat, 0)
  lead, channels = _split(frame_shape)
  images = flat.reshape(*place.shape, math.prod(lead), channels)
  images = jnp.swapaxes(images, -3, -2)
  return images.reshape(*slot.shape, *stacked_shape(frame_shape, stack))


def stacked_shape(frame_shape: tuple[int, ...], stack: int) -> tuple[int, ...]:
  """Returns the shape of a stack: (height, width, stack * channels)."""
  lead, channels = _split(frame_shape)
  return (*lead, channels * stack)


def _split(frame_shape):
  """Returns the shape without channels, and how many of those there are."""
  if len(frame_shape) == 2:
    return frame_shape, 1
  return frame_shape[:-1], math.prod(frame_shape[-1:])
