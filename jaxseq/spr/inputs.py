"""What an update is given: a batch of transitions, and what is random."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.rl.replay import frames
from jaxseq.spr import augmentation
from jaxseq.spr import heads

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
  """All that is random about an update.

  Attributes:
    noise: of the online head, for the whole update; None if it is not noisy.
    target_noise: of the target head; None unless it is "fresh".
    augmentations: None if nothing is augmented.
    dropout: four random keys, as the fields of Augmentations; None without
      dropout.
  """

  noise: dict[str, heads.Noise] | None = None
  target_noise: dict[str, heads.Noise] | None = None
  augmentations: Augmentations | None = None
  dropout: Array | None = None


def check(
  batch: frames.Batch, ahead: int, image_shape: tuple[int, int, int]
) -> None:
  """Checks the shapes of a batch.

  Args:
    batch: the batch.
    ahead: K.
    image_shape: (height, width, frames).

  Raises:
    ValueError: naming the field, what came and what is expected.
  """
  size = jnp.shape(batch.weight)[0]
  shapes = {
    "observation": (ahead + 1, size, *image_shape),
    "next_observation": (size, *image_shape),
    "action": (max(ahead, 1), size),
    "return_n": (size,),
    "done": (ahead + 1, size),
    "done_n": (size,),
  }
  check_shapes(batch, shapes)
  if jnp.shape(batch.discount) not in ((), (size,)):
    raise ValueError(
      f"batch.discount must have shape () or {(size,)}; got "
      f"{jnp.shape(batch.discount)}."
    )


def check_shapes(batch: Any, shapes: dict[str, tuple[int, ...]]) -> None:
  """Raises a ValueError unless fields of a batch have these shapes."""
  for name, shape in shapes.items():
    came = jnp.shape(getattr(batch, name))
    if came != shape:
      raise ValueError(f"batch.{name} must have shape {shape}; got {came}.")


def augment(
  config: augmentation.Config | None,
  batch: frames.Batch,
  draws: Augmentations | None,
) -> Augmentations:
  """Returns the images that each branch sees.

  Args:
    config: of the augmentation; None for none.
    batch: the batch.
    draws: one for each branch; None for no augmentation.

  Returns:
    The images in the fields of `Augmentations`; None for `spr` without
    self-prediction.
  """
  following = batch.observation[1:] if batch.observation.shape[0] > 1 else None
  images = Augmentations(
    online=batch.observation[0],
    spr=following,
    next_target=batch.next_observation,
    next_online=batch.next_observation,
  )
  return augment_images(config, images, draws)


def augment_images(
  config: augmentation.Config | None,
  images: Augmentations,
  draws: Augmentations | None,
) -> Augmentations:
  """Returns images of each branch augmented by its draws; None stays None."""
  if config is None:
    return images
  return Augmentations(
    *(
      None if image is None else augmentation.apply(config, image, draw)
      for image, draw in zip(images, draws)
    )
  )
