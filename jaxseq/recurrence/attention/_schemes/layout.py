"""Layouts of a sequence over devices.

Zig-zag: device i of W holds the chunks i and 2 W - 1 - i of 2 W, an early and a
late one, so that all devices have equal work under a causal mask.
"""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate

ORDERS = ("contiguous", "zigzag")


class Layout(NamedTuple):
  """The parts of a sequence that devices hold; hashable."""

  order: str  # one of `ORDERS`
  devices: int
  time: int  # on each of them

  @property
  def parts(self) -> int:
    """Number of runs of neighboring elements on a device."""
    return 2 if self.order == "zigzag" else 1

  @property
  def size(self) -> int:
    """Number of elements of a part."""
    return self.time // self.parts

  def chunk(self, device, part: int):
    """Number of the sequence's chunk that a part of a device holds."""
    return 2 * self.devices - 1 - device if part else device

  def part(self, x: jax.Array, part: int, axis: int = -2) -> jax.Array:
    """Cuts a part out of a device's elements."""
    if self.parts == 1:
      return x
    return lax.slice_in_dim(
      x, part * self.size, (part + 1) * self.size, axis=axis % x.ndim
    )

  def positions(self, device) -> jax.Array:
    """Positions in the whole sequence of a device's elements, (time,)."""
    index = jnp.arange(self.size)
    chunks = [self.chunk(device, part) for part in range(self.parts)]
    return jnp.concatenate([chunk * self.size + index for chunk in chunks])

  def need(self, part: int, other: int, causal: bool) -> str:
    """Use of another part's keys: "never", "sometimes" or "always"."""
    if not causal:
      return "always"
    index = np.arange(self.devices)
    sees = self.chunk(index, part)[:, None] >= self.chunk(index, other)
    if sees.all():
      return "always"
    return "sometimes" if sees.any() else "never"


def make(order: str, axis: str | None, time: int) -> Layout:
  """Layout of sequences of `time` a device, split over an axis or on one."""
  validate.choice("order", order, ORDERS)
  if order == "zigzag" and time % 2:
    raise validate.error(
      "time", time, "an even number on each device for order 'zigzag'"
    )
  return Layout(order, 1 if axis is None else lax.axis_size(axis), time)


def local_positions(
  time: int, axis: str, order: str = "contiguous"
) -> jax.Array:
  """Positions in the whole sequence of this device's elements.

  For use inside `jax.shard_map`, as the input of position embeddings.

  Args:
    time: number of elements on each device.
    axis: name of the mesh axis over which time is split.
    order: "contiguous" or "zigzag".

  Returns:
    (time,) int32.

  Raises:
    ValueError: if there is no such order, or it cannot split this time.
  """
  return make(order, axis, time).positions(lax.axis_index(axis))


def zigzag_order(time: int, devices: int) -> np.ndarray:
  """Returns the positions of a whole sequence in zig-zag order.

  Args:
    time: length of the whole sequence.
    devices: number of devices.

  Returns:
    (time,) permutation: element i of the reordered sequence is element
    `order[i]` of the original one.

  Raises:
    ValueError: unless 2 * devices divides time.
  """
  if devices < 1 or time % (2 * devices):
    raise validate.error(
      "time", time, f"a multiple of twice the number of devices, {devices}"
    )
  chunks = np.arange(time).reshape(2 * devices, -1)
  pairs = [(i, 2 * devices - 1 - i) for i in range(devices)]
  return chunks[np.ravel(pairs)].ravel()


def to_zigzag(x: jax.Array, devices: int, time_axis: int = -2) -> jax.Array:
  """Reorders a whole sequence for a split into equal contiguous chunks.

  Args:
    x: array with a time axis.
    devices: number of devices that it will be split over.
    time_axis: which axis is time.

  Returns:
    The reordered array.

  Raises:
    ValueError: unless 2 * devices divides time.
  """
  order = zigzag_order(x.shape[time_axis], devices)
  return jnp.take(x, order, axis=time_axis)


def from_zigzag(x: jax.Array, devices: int, time_axis: int = -2) -> jax.Array:
  """Undoes `to_zigzag`, with the same arguments."""
  order = np.argsort(zigzag_order(x.shape[time_axis], devices))
  return jnp.take(x, order, axis=time_axis)
