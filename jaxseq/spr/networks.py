"""The networks of an agent, put together.

The parameters are a dict of "encoder" and "head" and, for an agent that
predicts its own latents, "transition" and "predictor".
"""

import dataclasses
import math

import jax

from jaxseq.spr import encoders
from jaxseq.spr import heads
from jaxseq.spr import layers
from jaxseq.spr import transition as transition_lib

Array = jax.Array
Params = dict[str, dict]


@dataclasses.dataclass(frozen=True)
class Config:
  """The parts of an agent.

  Attributes:
    encoder: options of the encoder.
    head: options of the head.
    transition: options of the transition model; None for an agent without
      self-prediction.
  """

  encoder: encoders.Config
  head: heads.Config
  transition: transition_lib.Config | None = None

  def __post_init__(self):
    shape = encoders.latent_shape(self.encoder)
    if self.head.features != math.prod(shape):
      raise ValueError(
        f"head.features must be {math.prod(shape)}, the elements of the "
        f"encoder's latent {shape}; got {self.head.features}."
      )
    if self.transition is None:
      return
    for name, came, expected in (
      ("channels", self.transition.channels, shape[-1]),
      ("num_actions", self.transition.num_actions, self.head.num_actions),
    ):
      if came != expected:
        raise ValueError(
          f"transition.{name} must be {expected}, as in the encoder and head; "
          f"got {came}."
        )


def init(key: Array, config: Config) -> Params:
  """Draws the parameters of all parts.

  Args:
    key: random key.
    config: options.

  Returns:
    A dict of the parts' parameters, float32; "predictor" is a layer from
    projection_width to projection_width.
  """
  keys = jax.random.split(key, 4)
  params = {
    "encoder": encoders.init(keys[0], config.encoder),
    "head": heads.init(keys[1], config.head),
  }
  if config.transition is not None:
    width = config.head.projection_width
    params["transition"] = transition_lib.init(keys[2], config.transition)
    params["predictor"] = layers.init(
      keys[3], (width, width), config.head.initializer
    )
  return params


def action_values(
  config: Config,
  params: Params,
  image: Array,
  noise: dict[str, heads.Noise] | None = None,
) -> Array:
  """Returns the values of all actions, to act by: nothing is augmented.

  Args:
    config: options.
    params: "encoder" and "head" at least.
    image: (*batch, height, width, frames).
    noise: of the head; None for none, as in evaluation.

  Returns:
    (*batch, num_actions).
  """
  latent = encoders.apply(config.encoder, params["encoder"], image)
  outputs = heads.apply(config.head, params["head"], latent, noise)
  return heads.action_values(config.head, outputs)


def encode_project(
  config: Config, params: Params, image: Array, key: Array | None = None
) -> Array:
  """Encodes and projects images: what predictions are compared with.

  Args:
    config: options.
    params: "encoder" and the hidden layers of "head".
    image: (*batch, height, width, frames).
    key: random key of the encoder's dropout; None for none.

  Returns:
    (*batch, projection_width).
  """
  latent = encoders.apply(config.encoder, params["encoder"], image, key)
  return heads.project(config.head, params["head"], latent)


def predict(
  config: Config, params: Params, latent: Array, action: Array
) -> Array:
  """Predicts the projections of the latents that follow.

  Args:
    config: options, with a transition model.
    params: from `init`.
    latent: (batch, height, width, channels).
    action: (steps, batch) integers.

  Returns:
    (steps, batch, projection_width).
  """
  latents, _ = transition_lib.apply(
    config.transition, params["transition"], latent, action
  )
  projected = heads.project(config.head, params["head"], latents)
  return layers.dense(params["predictor"], projected)
