"""Stacks of sequence layers as pure functions, around any registered mixer.

Agents have them in two places: as a memory behind the encoder,
`agent_networks`, and as a model of latents, `mixer_transition`.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxseq import nn
from jaxseq import validate
from jaxseq.rl import layers
from jaxseq.types import PyTree

Array = jax.Array
Params = dict[str, dict]


_DEFAULT = nn.StackConfig(
  d_model=256, num_layers=1, activation="full_glu", final_norm=False
)


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of a stack with a dense layer on either side.

  Attributes:
    stack: the layers, without batch norm, whose statistics would tie sequences
      to each other; dropout is on where there is a key for it, in the loss.
    initializer: "pytorch" or "xavier", of the layers into and out of the stack.
  """

  stack: nn.StackConfig = _DEFAULT
  initializer: layers.Initializer = "pytorch"

  def __post_init__(self):
    validate.literals(self)
    self.stack.refuse(
      batch_norm="its statistics would tie sequences to each other"
    )


def init(key: Array, config: Config, inputs: int, outputs: int) -> Params:
  """Draws the parameters for so many elements of an input and of an output.

  Returns:
    "in" and "out", the layers from inputs to d_model and from there to outputs,
    and "stack", the parameters of `nn.SequenceModel`; all float32.
  """
  keys = jax.random.split(key, 3)
  x = jnp.zeros((1, config.stack.d_model))
  model, width = nn.SequenceModel(config.stack), config.stack.d_model
  return {
    "in": layers.init(keys[0], (inputs, width), config.initializer),
    "stack": model.init(keys[1], x).get("params", {}),
    "out": layers.init(keys[2], (width, outputs), config.initializer),
  }


def initial_state(
  config: Config,
  batch_shape: tuple[int, ...] = (),
  dtype: DTypeLike = "float32",
) -> PyTree:
  """Returns the state before the first element of a sequence."""
  model = nn.SequenceModel(config.stack, parent=None)
  return model.initial_state(batch_shape, dtype)


def apply(
  config: Config,
  params: Params,
  x: Array,
  state: PyTree,
  reset: Array | None = None,
  key: Array | None = None,
  *,
  step: bool = False,
) -> tuple[Array, PyTree]:
  """Consumes whole sequences, in parallel over time where the mixers can.

  From x (*batch, time, inputs) and the state before to y (*batch, time,
  outputs) and the state after the last element. Where `reset` (*batch, time)
  bool is True the state is put back to the initial one before that element;
  None is for no resets. With `step` x and reset are one element, without a time
  axis. With a key there is dropout.
  """
  x = layers.dense(params["in"], x)
  variables = {"params": params["stack"]}
  rngs = None if key is None else {"dropout": key}
  y, state = nn.SequenceModel(config.stack).apply(
    variables, x, state, reset, key is not None, step=step, rngs=rngs
  )
  return layers.dense(params["out"], y.astype(x.dtype)), state
