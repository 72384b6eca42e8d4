"""A transition model with a memory: any registered mixer over latents.

    x_k = W_in [z_{k-1}, one-hot of the action]
    y_k, h_k = step(x_k, h_{k-1}),  h_0 fresh
    z_k = renormalize(relu(z_{k-1} + W_out y_k))

It takes the place of SPR's convolutions (`conv_transition`). A prediction sees
only the latent before it there; here the state h carries all latents and
actions since z_0 as well. Latents are flattened, not pooled: the projection
that predictions are compared by has a weight for each place of a latent.
d_model is far less than their elements, so what does not change goes past the
stack.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl import layers
from jaxseq.spr import conv_transition
from jaxseq.spr import stacks
from jaxseq.types import PyTree

Array = jax.Array
Params = dict[str, dict]


@dataclasses.dataclass(frozen=True)
class Config(stacks.Config):
  """Options of a transition model: those of its stack, and these.

  Attributes:
    num_actions: number of actions.
    latent_shape: (height, width, channels) of a latent.
    skip: whether the latent before is added, before the ReLU.
    renormalize: whether every new latent is mapped to [0, 1].
    epsilon: added to the range of a latent that is renormalized.
    unroll: whether a rollout is written out step by step, not as a loop: faster
      to run and slower to compile.
  """

  _: dataclasses.KW_ONLY
  num_actions: int
  latent_shape: tuple[int, int, int]
  skip: bool = True
  renormalize: bool = True
  epsilon: float = 1e-5
  unroll: bool = True

  def __post_init__(self):
    super().__post_init__()
    validate.fields(self, positive=("num_actions",), not_negative=("epsilon",))


def init(key: Array, config: Config) -> Params:
  """Draws the parameters, those of `stacks.init`.

  The inputs are a latent, flattened as (height, width, channels), and then the
  actions.
  """
  size = math.prod(config.latent_shape)
  return stacks.init(key, config, size + config.num_actions, size)


def step(
  config: Config,
  params: Params,
  latent: Array,
  action: Array,
  state: PyTree,
  key: Array | None = None,
) -> tuple[Array, PyTree]:
  """Predicts the latents (batch, *latent_shape) after one action each.

  Takes the state of the stack after the steps before; also returns the one
  after this step. With a key there is dropout.

  Raises:
    ValueError: if the latents have another shape.
  """
  if latent.ndim != 4 or latent.shape[1:] != tuple(config.latent_shape):
    raise validate.error(
      "latent",
      f"shape {latent.shape}",
      f"shape (batch, *{tuple(config.latent_shape)})",
    )
  one_hot = jax.nn.one_hot(action, config.num_actions, dtype=latent.dtype)
  x = jnp.concatenate([latent.reshape(len(latent), -1), one_hot], axis=-1)
  y, state = stacks.apply(config, params, x, state, key=key, step=True)
  y = y.reshape(latent.shape)
  y = jax.nn.relu(latent + y if config.skip else y)
  if config.renormalize:
    y = layers.renormalize(y, config.epsilon)
  return y, state


def apply(
  config: Config,
  params: Params,
  latent: Array,
  action: Array,
  key: Array | None = None,
) -> Array:
  """Rolls the model out, from a fresh state, as `conv_transition.apply` does.

  From latents (batch, *latent_shape) to (batch, steps, *latent_shape). With a
  key there is dropout, by one mask for all steps.

  Raises:
    ValueError: if a shape does not fit.
  """
  conv_transition.check_actions(action, latent)

  def body(carry, action):
    latent, state = step(config, params, carry[0], action, carry[1], key)
    return (latent, state), latent

  state = stacks.initial_state(config, latent.shape[:1], latent.dtype)
  _, latents = jax.lax.scan(
    body, (latent, state), action.T, unroll=config.unroll
  )
  return jnp.swapaxes(latents, 0, 1)
