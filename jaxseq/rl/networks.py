"""The recurrent actor-critic: encoder, sequence model, two heads.

Lu et al., "Structured State Space Models for In-Context Reinforcement
Learning", arXiv:2303.03982, and its published code.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any
from typing import Literal

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxseq import mixers
from jaxseq.nn import distributions
from jaxseq.nn import model
from jaxseq.rl import actions as actions_lib

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the actor-critic; the defaults are those of the paper for S5.

  Attributes:
    mixer: name of the sequence mixer in `jaxseq.mixers`.
    mixer_options: pairs of names and values for the mixer's own Config.
    d_model: width of the sequence model.
    num_layers: its layers; 0 makes a policy without memory.
    activation: what follows the mixer in a layer.
    residual: whether a layer adds its input to its output.
    norm: the layers' normalisation.
    prenorm: whether it stands before the mixer or after the residual sum.
    gtrxl_norm: whether another one follows the mixer.
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
  encoder_widths: tuple[int, ...] = (128,)
  head_widths: tuple[int, ...] = (128, 128)

  def __post_init__(self):
    if self.num_layers < 0:
      raise ValueError(
        f"num_layers: got {self.num_layers}, expected 0 or more."
      )
    for name in ("encoder_widths", "head_widths"):
      if any(width < 1 for width in getattr(self, name)):
        raise ValueError(
          f"{name}: got {getattr(self, name)}, expected positive widths."
        )
    self.memory()

  def memory(self) -> model.ModelConfig:
    """Returns the configuration of the sequence model.

    Raises:
      ValueError: if the mixer or one of its options is unknown.
    """
    mixer = mixers.make_config(
      self.mixer, d_model=self.d_model, **dict(self.mixer_options)
    )
    return model.ModelConfig(
      mixer=mixer,
      num_layers=self.num_layers,
      activation=self.activation,
      residual=self.residual,
      norm=self.norm,
      prenorm=self.prenorm,
      gtrxl_norm=self.gtrxl_norm,
    )


class ActorCritic(nn.Module):
  """Policy and critic that share an encoder and a memory.

  Attributes:
    config: options.
    actions: what the policy decides.
  """

  config: Config
  actions: actions_lib.Spec

  def setup(self):
    config = self.config
    self.encoder = MLP((*config.encoder_widths, config.d_model), math.sqrt(2))
    if config.num_layers:
      self.memory = model.SequenceModel(config.memory())
    self.actor = Head(config.head_widths, self.actions.num_outputs, 0.01)
    self.critic = Head(config.head_widths, 1, 1.0)
    if self.actions.kind == "gaussian":
      self.log_std = self.param(
        "log_std", nn.initializers.zeros, (self.actions.num_outputs,)
      )

  def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
    """Returns fresh memories; works on an unbound module."""
    if not self.config.num_layers:
      return ()
    memory = model.SequenceModel(self.config.memory(), parent=None)
    return memory.initial_state(batch_shape)

  def __call__(
    self, observation: Array, states: Any = None, reset: Array | None = None
  ) -> tuple[Any, Array, Any]:
    """Runs over whole sequences.

    Args:
      observation: (*batch, time, d).
      states: memories before the first element; fresh ones if None.
      reset: (*batch, time) bool; where True the memory is made fresh before
        that observation.

    Returns:
      The policy, a distribution with batch shape (*batch, time); the values
      (*batch, time); and the memories after the last element.
    """
    x = _flat(self.encoder, observation)
    if self.config.num_layers:
      x, states = self.memory(x, states, reset)
    return self._policy(x), self._value(x), states

  def step(
    self, observation: Array, states: Any, reset: Array | None = None
  ) -> tuple[Any, Array, Any]:
    """Runs over one element; `__call__` without the time axis."""
    x = self.encoder(observation)
    if self.config.num_layers:
      x, states = self.memory.step(x, states, reset)
    return self._policy(x), self._value(x), states

  def _policy(self, x: Array) -> Any:
    outputs = _flat(self.actor, x)
    match self.actions.kind:
      case "categorical":
        return distributions.Categorical(outputs)
      case "factored":
        return actions_lib.factored(self.actions.sizes, outputs)
    log_std = jnp.broadcast_to(self.log_std, outputs.shape)
    return distributions.DiagonalGaussian(outputs, log_std)

  def _value(self, x: Array) -> Array:
    return _flat(self.critic, x)[..., 0]


class MLP(nn.Module):
  """Dense layers, each with a leaky ReLU.

  Attributes:
    widths: of the layers.
    gain: of their orthogonal initialisation.
  """

  widths: Sequence[int]
  gain: float

  @nn.compact
  def __call__(self, x: Array) -> Array:
    for i, width in enumerate(self.widths):
      x = nn.leaky_relu(_dense(width, self.gain, f"layer_{i}")(x))
    return x


class Head(nn.Module):
  """An MLP with a linear layer on top.

  Attributes:
    widths: of the hidden layers.
    outputs: width of the linear layer.
    gain: of its initialisation; that of the hidden layers is 2.
  """

  widths: Sequence[int]
  outputs: int
  gain: float

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = MLP(self.widths, 2.0, name="body")(x)
    return _dense(self.outputs, self.gain, "out")(x)


def _flat(layers: nn.Module, x: Array) -> Array:
  """Applies layers to the last axis with all others merged into one.

  A matrix product summed over one axis needs no transposed copies: on CPU the
  gradient takes half the time that it takes with several leading axes.
  """
  y = layers(x.reshape(-1, x.shape[-1]))
  return y.reshape(*x.shape[:-1], y.shape[-1])


def _dense(width: int, gain: float, name: str) -> nn.Dense:
  return nn.Dense(
    width, kernel_init=nn.initializers.orthogonal(gain), name=name
  )
