"""Stacks of sequence layers as pure functions, around any registered mixer.

Agents have them in two places: as a memory behind the encoder, `memory`, and as
a model of latents, `mixer_transition`.
"""

import dataclasses
from typing import Any
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import mixers
from jaxseq import nn
from jaxseq.rl import layers

Array = jax.Array
Params = dict[str, dict]


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of a stack.

  Attributes:
    mixer: name of the sequence mixer in `jaxseq.mixers`.
    mixer_options: pairs of names and values for the mixer's own Config.
    d_model: width of the stack.
    num_layers: its layers.
    activation: what follows the mixer in a layer, see `nn.LayerConfig`.
    residual: whether a layer adds its input to its output.
    norm: before the mixer; not "batch", whose statistics would tie sequences to
      each other.
    initializer: "pytorch" or "xavier", of the layers into and out of the stack.
  """

  mixer: str = "s5"
  mixer_options: tuple[tuple[str, Any], ...] = ()
  d_model: int = 256
  num_layers: int = 1
  activation: str = "full_glu"
  residual: bool = True
  norm: Literal["none", "layer", "rms"] = "layer"
  initializer: layers.Initializer = "pytorch"

  def __post_init__(self):
    layers.check_positive(self, "d_model", "num_layers")
    layers.check_choice("norm", self.norm, ("none", "layer", "rms"))
    layers.check_choice("initializer", self.initializer, layers.INITIALIZERS)
    self.model()

  def model(self) -> nn.ModelConfig:
    """Returns the configuration of the sequence model.

    Raises:
      ValueError: if the mixer or one of the options is unknown.
    """
    return nn.ModelConfig(
      mixers.make_config(
        self.mixer, d_model=self.d_model, **dict(self.mixer_options)
      ),
      num_layers=self.num_layers,
      activation=self.activation,
      residual=self.residual,
      norm=self.norm,
    )


def init(key: Array, config: Config, inputs: int, outputs: int) -> Params:
  """Draws the parameters.

  Args:
    key: random key.
    config: options.
    inputs: elements of an input.
    outputs: elements of an output.

  Returns:
    "in" and "out", the layers from inputs to d_model and from there to outputs,
    and "stack", the parameters of `nn.SequenceModel`; all float32.
  """
  keys = jax.random.split(key, 3)
  x = jnp.zeros((1, config.d_model))
  model = nn.SequenceModel(config.model())
  return {
    "in": layers.init(keys[0], (inputs, config.d_model), config.initializer),
    "stack": model.init(keys[1], x)["params"],
    "out": layers.init(keys[2], (config.d_model, outputs), config.initializer),
  }


def initial_state(
  config: Config, batch_shape: tuple[int, ...] = (), dtype: Any = "float32"
) -> Any:
  """Returns the state before the first element of a sequence."""
  model = nn.SequenceModel(config.model(), parent=None)
  return model.initial_state(batch_shape, dtype)


def step(
  config: Config,
  params: Params,
  x: Array,
  state: Any,
  reset: Array | None = None,
) -> tuple[Array, Any]:
  """Consumes one element.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, inputs).
    state: before the element.
    reset: (*batch,) bool; where True the state is put back to the initial one
      before the element. None for no resets.

  Returns:
    y (*batch, outputs) and the state after the element.
  """
  x = layers.dense(params["in"], x)
  y, state = nn.SequenceModel(config.model()).apply(
    {"params": params["stack"]}, x, state, reset, method="step"
  )
  return layers.dense(params["out"], y), state


def apply(
  config: Config,
  params: Params,
  x: Array,
  state: Any,
  reset: Array | None = None,
) -> tuple[Array, Any]:
  """Consumes whole sequences, in parallel over time where the mixer can.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, time, inputs).
    state: before the first element.
    reset: (*batch, time) bool, as in `step`.

  Returns:
    y (*batch, time, outputs) and the state after the last element.
  """
  x = layers.dense(params["in"], x)
  y, state = nn.SequenceModel(config.model()).apply(
    {"params": params["stack"]}, x, state, reset
  )
  return layers.dense(params["out"], y), state
