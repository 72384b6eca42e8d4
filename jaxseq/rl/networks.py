"""The recurrent actor-critic: encoder, sequence model, two heads.

Lu et al., "Structured State Space Models for In-Context Reinforcement
Learning", arXiv:2303.03982, and its published code.
"""

import dataclasses
import math
from typing import Any
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import mixers
from jaxseq import nn
from jaxseq.rl import actions as actions_lib
from jaxseq.rl import encoders

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the actor-critic; the defaults are those of the paper for S5.

  Attributes:
    mixer: name of the sequence mixer in `jaxseq.mixers`.
    mixer_options: pairs of names and values for the mixer's own Config.
    d_model: width of the sequence model.
    num_layers: its layers; 0 makes a policy without memory.
    activation: what follows the mixer in a layer, see `nn.LayerConfig`.
    residual: whether a layer adds its input to its output.
    norm: the layers' normalisation; not "batch", whose statistics would tie
      environments to each other.
    prenorm: whether it stands before the mixer or after the residual sum.
    gtrxl_norm: whether another one follows the mixer.
    shared_norm: whether that one has the same parameters.
    encoder: of images, before the dense layers; its image_shape is that of the
      environment. None for vectors; images are flattened then.
    encoder_widths: hidden widths of the encoder, before its last layer, which
      has width d_model.
    head_widths: hidden widths of the actor and of the critic.
  """

  mixer: str = "s5"
  mixer_options: tuple[tuple[str, Any], ...] = ()
  d_model: int = 256
  num_layers: int = 4
  activation: str = "full_glu"
  residual: bool = True
  norm: Literal["none", "layer", "rms"] = "none"
  prenorm: bool = True
  gtrxl_norm: bool = False
  shared_norm: bool = False
  encoder: encoders.Config | None = None
  encoder_widths: tuple[int, ...] = (128,)
  head_widths: tuple[int, ...] = (128, 128)

  def __post_init__(self):
    if self.num_layers < 0:
      raise ValueError(
        f"num_layers: got {self.num_layers}, expected 0 or more."
      )
    if self.norm not in ("none", "layer", "rms"):
      raise ValueError(
        f"norm: got {self.norm!r}, expected 'none', 'layer' or 'rms'."
      )
    for name in ("encoder_widths", "head_widths"):
      if any(width < 1 for width in getattr(self, name)):
        raise ValueError(
          f"{name}: got {getattr(self, name)}, expected positive widths."
        )
    self.memory()

  def memory(self) -> nn.ModelConfig:
    """Returns the configuration of the sequence model.

    Raises:
      ValueError: if the mixer or one of the options is unknown.
    """
    return nn.ModelConfig(
      mixers.make_config(
        self.mixer, d_model=self.d_model, **dict(self.mixer_options)
      ),
      num_layers=max(self.num_layers, 1),
      activation=self.activation,
      residual=self.residual,
      norm=self.norm,
      prenorm=self.prenorm,
      gtrxl_norm=self.gtrxl_norm,
      shared_norm=self.shared_norm,
    )


class Recurrent(linen.Module):
  """A network with a memory: `__call__` is what a subclass adds.

  Attributes:
    config: options.
    actions: what is decided.
  """

  config: Config
  actions: actions_lib.Spec

  def step(
    self, observation: Array, states: Any, reset: Array | None = None
  ) -> tuple[Any, Array, Any]:
    """Runs over one element; `__call__` without the time axis."""
    return self(observation, states, reset, step=True)

  @linen.nowrap
  def initial_state(
    self, batch_shape: tuple[int, ...] = (), dtype: Any = "float32"
  ) -> Any:
    """Returns fresh memories; works on an unbound module."""
    return initial_state(self.config, batch_shape, dtype)


class ActorCritic(Recurrent):
  """Policy and critic that share an encoder and a memory."""

  @linen.compact
  def __call__(
    self,
    observation: Array,
    states: Any = None,
    reset: Array | None = None,
    step: bool = False,
  ) -> tuple[Any, Array, Any]:
    """Runs over whole sequences.

    Args:
      observation: (*batch, time, d); or `wrappers.ImageObservation`s.
      states: memories before the first element; fresh ones if None.
      reset: (*batch, time) bool; where True the memory is made fresh before
        that observation.
      step: whether there is no time axis.

    Returns:
      The policy, a distribution with batch shape (*batch, time); the values
      (*batch, time); and the memories after the last element.
    """
    widths = self.config.head_widths
    x, states = features(self.config, observation, states, reset, step)
    policy = _actor(self.actions, widths)(x)
    value = nn.ValueHead(widths, name="critic")(x)
    return policy, value, states


def features(
  config: Config,
  observation: Array,
  states: Any = None,
  reset: Array | None = None,
  step: bool = False,
) -> tuple[Array, Any]:
  """Runs the encoder and the memory, as parts of the module that calls it.

  Args:
    config: options.
    observation: as in `ActorCritic`, and so are states, reset and step.
    states: memories before the first element.
    reset: (*batch, time) bool.
    step: whether there is no time axis.

  Returns:
    Features (*batch, time, d_model), and the memories after the last element.
  """
  x = observation
  if config.encoder is not None:
    image = encoders.ImageEncoder(config.encoder, name="image")(x.image)
    x = jnp.concatenate([image, x.history.astype(image.dtype)], axis=-1)
  x = nn.MLP(
    (*config.encoder_widths, config.d_model),
    gain=math.sqrt(2),
    activate_last=True,
    name="encoder",
  )(x)
  if config.num_layers:
    memory = nn.SequenceModel(config.memory(), name="memory")
    x, states = memory(x, states, reset, step=step)
  return x, states


def initial_state(
  config: Config, batch_shape: tuple[int, ...] = (), dtype: Any = "float32"
) -> Any:
  """Returns fresh memories."""
  if not config.num_layers:
    return ()
  memory = nn.SequenceModel(config.memory(), parent=None)
  return memory.initial_state(batch_shape, dtype)


def _actor(actions: actions_lib.Spec, widths: tuple[int, ...]) -> linen.Module:
  size, name = actions.num_outputs, "actor"
  match actions.kind:
    case "gaussian":
      return nn.GaussianHead(size, widths, name=name)
    case "factored":
      return FactoredHead(actions.sizes, widths, name=name)
  return nn.CategoricalHead(size, widths, name=name)


class FactoredHead(linen.Module):
  """Policy over several independent choices.

  Attributes:
    sizes: number of options of each choice.
    widths: widths of the hidden layers.
  """

  sizes: tuple[int, ...]
  widths: tuple[int, ...]

  @linen.compact
  def __call__(self, x: Array) -> actions_lib.Factored:
    """Maps (..., n) features to a distribution with batch shape (...)."""
    head = nn.CategoricalHead(sum(self.sizes), self.widths, name="joint")
    return actions_lib.factored(self.sizes, head(x).logits)
