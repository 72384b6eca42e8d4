"""Augmentation of image stacks: random shifts and random intensity.

Yarats et al., "Image Augmentation Is All You Need" (DrQ), arXiv:2004.13649, and
SPR (arXiv:2007.05929, appendix): the image is padded by repeating its edge,
cropped at random to its old size, and multiplied by a random factor near 1.
All frames of a stack are treated alike; every stack has draws of its own.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the augmentation; the defaults are those of SPR.

  Attributes:
    pad: how far images are shifted at most, in pixels.
    intensity: scale of the random factor.
    exclusive: whether a shift by +pad is left out, as it is by the agents that
      go back to Dopamine's code; shifts then are not symmetric.
  """

  pad: int = 4
  intensity: float = 0.05
  exclusive: bool = False

  def __post_init__(self):
    validate.fields(self, positive=("pad",), not_negative=("intensity",))


class Draws(NamedTuple):
  """The random numbers of an augmentation, for each stack.

  Attributes:
    row: (*batch,) int32 in [0, 2 pad], where the crop starts; pad leaves the
      image in place.
    column: (*batch,) int32, the same for columns.
    normal: (*batch,) standard normals of the intensity.
  """

  row: Array
  column: Array
  normal: Array


def draw(key: Array, config: Config, batch_shape: tuple[int, ...]) -> Draws:
  """Draws one augmentation for every stack of a batch."""
  keys = jax.random.split(key, 3)
  end = 2 * config.pad + (0 if config.exclusive else 1)
  row, column = (
    jax.random.randint(key, batch_shape, 0, end, jnp.int32) for key in keys[:2]
  )
  return Draws(row, column, jax.random.normal(keys[2], batch_shape, "float32"))


def apply(config: Config, image: Array, draws: Draws) -> Array:
  """Augments stacks of frames, (*batch, height, width, frames).

  They are uint8, which are divided by 255, or floating; the result is like
  them, in the dtype of draws.normal. There is a draw for each stack.

  Raises:
    ValueError: if there is another number of draws.
  """
  batch = image.shape[:-3]
  if draws.row.shape != batch:
    raise validate.error(
      "draws", f"shape {draws.row.shape}", f"{batch}, the batch shape of image"
    )
  x = shift(config, image, draws.row, draws.column)
  dtype = draws.normal.dtype
  x = x.astype(dtype) / 255 if image.dtype == jnp.uint8 else x.astype(dtype)
  factor = 1 + config.intensity * jnp.clip(draws.normal, -2, 2)
  return x * factor[..., None, None, None]


def shift(config: Config, image: Array, row: Array, column: Array) -> Array:
  """Shifts stacks of frames; what comes into view repeats the edge.

  The images (*batch, height, width, frames) may have any dtype; row and column
  are as in `Draws`. The result is like the images.
  """
  shape, pad = image.shape, config.pad
  flat = image.reshape(-1, *shape[-3:])
  flat = jnp.pad(flat, ((0, 0), (pad, pad), (pad, pad), (0, 0)), "edge")

  def crop(x, row, column):
    return jax.lax.dynamic_slice(
      x, (row, column, jnp.zeros_like(row)), shape[-3:]
    )

  row, column = (x.reshape(-1).astype(jnp.int32) for x in (row, column))
  return jax.vmap(crop)(flat, row, column).reshape(shape)
