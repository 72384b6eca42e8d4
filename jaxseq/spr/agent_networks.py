"""The networks of an agent, put together.

The parameters are a dict of "encoder" and "head" and, for an agent that
predicts its own latents, "transition" and "predictor"; for one with a memory,
"memory": any registered mixer over time, between encoder and head.

    m_t = z_t + W_out y_t,  (y_t, h_t) = step(W_in z_t, h_{t-1})

z_t is the encoder's flattened latent, and m_t the head's input. m_t has the
shape of z_t, so that the head is unchanged; self-prediction predicts z_t. The
state h is reset at the start of each episode.

Hausknecht and Stone, arXiv:1507.06527, put the first memory into a Q-network.
How it learns from replayed sequences is that of Kapturowski et al., ICLR 2019
(R2D2), see `sequence_loss`.
"""

import dataclasses
import math

import jax

from jaxseq import validate
from jaxseq.rl import encoders
from jaxseq.rl import layers
from jaxseq.spr import conv_transition
from jaxseq.spr import mixer_transition
from jaxseq.spr import q_heads
from jaxseq.spr import stacks
from jaxseq.types import PyTree

Array = jax.Array
Params = dict[str, dict]


@dataclasses.dataclass(frozen=True)
class Config:
  """The parts of an agent.

  Attributes:
    encoder: options of the encoder.
    head: options of the head.
    transition: options of the transition model, of convolutions or of a mixer;
      None for an agent without self-prediction.
    memory: options of the memory; None for an agent that acts upon the newest
      frames alone.
  """

  encoder: encoders.Config
  head: q_heads.Config
  transition: conv_transition.Config | mixer_transition.Config | None = None
  memory: stacks.Config | None = None

  def __post_init__(self):
    shape, model = encoders.latent_shape(self.encoder), self.transition
    size = math.prod(shape)
    if self.head.features != size:
      wanted = f"{size}, the elements of the encoder's latent {shape}"
      raise validate.error("head.features", self.head.features, wanted)
    expected = {"num_actions": self.head.num_actions}
    if isinstance(model, mixer_transition.Config):
      expected["latent_shape"] = shape
    else:
      expected["channels"] = shape[-1]
    for name, value in expected.items():
      if model is not None and getattr(model, name) != value:
        wanted = f"{value}, as in the encoder and head"
        raise validate.error(f"transition.{name}", getattr(model, name), wanted)

  @property
  def drops(self) -> bool:
    """True if a part has dropout."""
    parts = (self.transition, self.memory)
    rates = [
      layer.dropout
      for part in parts
      if isinstance(part, stacks.Config)
      for layer in part.stack.every_layer
    ]
    return any([self.encoder.dropout, *rates])


def init(key: Array, config: Config) -> Params:
  """Draws the parameters of all parts.

  Returns:
    A dict of the parts' parameters, float32; "predictor" is a layer from
    projection_width to projection_width.
  """
  keys = jax.random.split(key, 5)
  params = {
    "encoder": encoders.init(keys[0], config.encoder),
    "head": q_heads.init(keys[1], config.head),
  }
  if config.memory is not None:
    size = config.head.features
    params["memory"] = stacks.init(keys[4], config.memory, size, size)
  if config.transition is not None:
    width = config.head.projection_width
    model = _transition_model(config)
    params["transition"] = model.init(keys[2], config.transition)
    params["predictor"] = layers.init(
      keys[3], (width, width), config.head.initializer
    )
  return params


def _transition_model(config):
  """Returns the module of the transition model."""
  if isinstance(config.transition, mixer_transition.Config):
    return mixer_transition
  return conv_transition


def initial_memory(config: Config, batch_shape: tuple[int, ...] = ()) -> PyTree:
  """Returns the memory at the beginning of an episode; () without one."""
  if config.memory is None:
    return ()
  return stacks.initial_state(config.memory, batch_shape)


def remember(
  config: Config,
  params: Params,
  latent: Array,
  memory: PyTree,
  reset: Array | None = None,
  key: Array | None = None,
  *,
  step: bool = False,
) -> tuple[Array, PyTree]:
  """Takes whole sequences, or one latent of each, into the memory.

  From latents (*batch, time, height, width, channels) to what the head is to
  see, which is like them, and the memory after the last one. The rest is as in
  `stacks.apply`; without a memory nothing changes.
  """
  if config.memory is None:
    return latent, memory
  x = latent.reshape(*latent.shape[:-3], -1)
  y, memory = stacks.apply(
    config.memory, params["memory"], x, memory, reset, key, step=step
  )
  return latent + y.reshape(latent.shape), memory


def action_values(
  config: Config,
  params: Params,
  image: Array,
  noise: q_heads.Noises = None,
  memory: PyTree = (),
) -> tuple[Array, PyTree]:
  """Returns the values of all actions, to act by: nothing is augmented.

  From images (*batch, height, width, frames) to (*batch, num_actions), and the
  memory after them; that before them has leading axes *batch and is () without
  one. The head has no noise in evaluation.
  """
  latent = encoders.apply(config.encoder, params["encoder"], image)
  latent, memory = remember(config, params, latent, memory, step=True)
  outputs = q_heads.apply(config.head, params["head"], latent, noise)
  return q_heads.action_values(config.head, outputs), memory


def encode_project(
  config: Config, params: Params, image: Array, key: Array | None = None
) -> Array:
  """Encodes and projects images: what predictions are compared with.

  From (*batch, height, width, frames) to (*batch, projection_width), with
  parameters of "encoder" and of the hidden layers of "head". Without a key
  there is no dropout.
  """
  latent = encoders.apply(config.encoder, params["encoder"], image, key)
  return q_heads.project(config.head, params["head"], latent)


def predict(
  config: Config,
  params: Params,
  latent: Array,
  action: Array,
  *,
  key: Array | None = None,
) -> Array:
  """Predicts the projections of the latents that follow, by a transition model.

  From latents (batch, height, width, channels) and integers (batch, steps) to
  (batch, steps, projection_width). Without a key there is no dropout.
  """
  model, arguments = _transition_model(config), (latent, action)
  if model is mixer_transition:
    arguments += (key,)
  latents = model.apply(config.transition, params["transition"], *arguments)
  projected = q_heads.project(config.head, params["head"], latents)
  return layers.dense(params["predictor"], projected)
