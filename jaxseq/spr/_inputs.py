"""Inputs of an update beside its batch: random draws and augmented images."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.spr import augmentation
from jaxseq.spr import q_heads

Array = jax.Array


class Augmentations(NamedTuple):
  """Augmentations of s_t, of s_{t+1} .. s_{t+K}, and of s_{t+n} twice.

  For sequences the first and the third are of all their images, as the online
  and the target network see them, and the last is None.
  """

  online: augmentation.Draws | Array
  spr: augmentation.Draws | Array | None
  next_target: augmentation.Draws | Array
  next_online: augmentation.Draws | Array | None


class Draws(NamedTuple):
  """Random draws of an update, None of what there is not."""

  noise: q_heads.Noises = None  # of the online head, for the whole update
  target_noise: q_heads.Noises = None  # of the target head, where it is "fresh"
  augmentations: Augmentations | None = None
  dropout: Array | None = None  # four keys, as the fields of Augmentations

  def dropout_key(self, branch: int, part: int = 0) -> Array | None:
    """Returns the key of a branch's dropout; None without dropout.

    The part is 0 for the encoder, 1 for the transition model, 2 for the memory.
    """
    if self.dropout is None:
      return None
    return jax.random.split(self.dropout[branch], 3)[part]


def check(batch, *, steps, rows, ahead, observation_shape):
  """Checks the shapes of a batch, whose elements have observations of `steps`.

  From `rows` transitions or steps is learned, `ahead` is K.
  """
  size = len(batch.weight)
  shapes = {
    "observation": (size, steps, *observation_shape),
    "action": (rows, max(ahead, 1)),
    "return_n": (rows,),
    "done": (rows, ahead + 1),
    "done_n": (rows,),
  }
  if batch.reset is None:
    shapes["next_observation"] = (size, *observation_shape)
  else:
    shapes["reset"] = (size, steps)
  if jnp.shape(batch.discount):
    shapes["discount"] = (rows,)
  for name, shape in shapes.items():
    came = jnp.shape(getattr(batch, name))
    if came != shape:
      raise validate.error(f"batch.{name}", f"shape {came}", f"shape {shape}")


def augment(config, images, draws):
  """Returns the images of each branch augmented by its draws; None stays None.

  Without a configuration nothing is augmented, and there are no draws.
  """
  if config is None:
    return images
  augmented = [
    None if image is None else augmentation.apply(config, image, draw)
    for image, draw in zip(images, draws)
  ]
  return Augmentations(*augmented)
