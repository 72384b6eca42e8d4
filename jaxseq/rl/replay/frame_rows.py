"""Rows of frames on the device, for a replay, and stacks of frames.

A frame is stored as rows of 128 numbers, the last one padded with zeros, which
match the memory tiles of a TPU. Unreshaped small images would take many times
their size there, and with one flat row per frame the whole ring would be
transposed between writing and reading. On other devices rows are contiguous,
like a flat frame.
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
  """Writes a frame of any shape to a slot, () int32."""
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

  Takes rows (capacity, rows, 128) and whether an episode ended after them,
  (capacity,) bool. The newest frame, which comes last, is that of the slot
  (*batch,), modulo the capacity. Frames of earlier episodes are 0.
  """
  back = np.arange(stack - 1, -1, -1, dtype=np.int32)
  place = (slot[..., None] - back) % frames.shape[0]
  # A frame is of the same episode if no episode ends between it and the last.
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
  """Returns the shape without channels, and the number of channels."""
  if len(frame_shape) == 2:
    return frame_shape, 1
  return frame_shape[:-1], math.prod(frame_shape[-1:])
