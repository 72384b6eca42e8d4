"""The transition model: the next latent from a latent and an action.

    x = relu(conv([z, planes that are 1 for the action, else 0]))
    x = batch_norm(x)
    z' = renormalize(relu(conv(x)))

SPR (Schwarzer et al., arXiv:2007.05929, section 2.2 and its code). The batch
norm always takes the mean and variance of the batch it sees, on its own in
every step of a rollout. The later agents (SR-SPR, BBF) have none.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl import layers

Array = jax.Array
Params = dict[str, layers.Layer]


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of a transition model; the defaults are those of SPR.

  Attributes:
    num_actions: number of actions.
    channels: of the latent.
    hidden: channels between the convolutions; those of the latent if None.
    norm: "batch" or "none".
    norm_epsilon: added to the variance.
    residual: whether z is added before the last ReLU.
    renormalize: whether every new latent is mapped to [0, 1].
    epsilon: added to the range of a latent that is renormalized.
    initializer: "pytorch" or "xavier".
    unroll: whether a rollout is written out step by step, not as a loop: on a
      CPU the gradient of a convolution is many times slower inside a loop.
    dtype: what the convolutions multiply in, such as "bfloat16"; the dtype of
      the latent if None.
  """

  num_actions: int
  channels: int = 64
  hidden: int | None = None
  norm: Literal["batch", "none"] = "batch"
  norm_epsilon: float = 1e-5
  residual: bool = False
  renormalize: bool = True
  epsilon: float = 1e-5
  initializer: layers.Initializer = "pytorch"
  unroll: bool = True
  dtype: str | None = None

  def __post_init__(self):
    validate.fields(
      self,
      positive=("num_actions", "channels"),
      optional=("hidden",),
      above_zero=("norm_epsilon",),
      not_negative=("epsilon",),
    )
    validate.literals(self)

  @property
  def width(self) -> int:
    """Channels between the convolutions."""
    return self.channels if self.hidden is None else self.hidden


def init(key: Array, config: Config) -> Params:
  """Draws the parameters.

  Returns:
    A nested dict of float32 arrays: "conv_in", a layer of 3x3 windows from
    channels + num_actions (the latent's channels come first) to width;
    "conv_out", one from width to channels; with norm "batch", "norm": "scale"
    and "bias" (width,).
  """
  key_in, key_out = jax.random.split(key)
  shape_in = (3, 3, config.channels + config.num_actions, config.width)
  shape_out = (3, 3, config.width, config.channels)
  params = {
    "conv_in": layers.init(key_in, shape_in, config.initializer),
    "conv_out": layers.init(key_out, shape_out, config.initializer),
  }
  if config.norm == "batch":
    params["norm"] = {
      "scale": jnp.ones((config.width,), jnp.float32),
      "bias": jnp.zeros((config.width,), jnp.float32),
    }
  return params


def step(config: Config, params: Params, latent: Array, action: Array) -> Array:
  """Predicts latents (batch, height, width, channels) after one action each.

  The actions (batch,) are integers below num_actions.

  Raises:
    ValueError: if the latents have another shape.
  """
  shape = latent.shape
  if len(shape) != 4 or shape[-1] != config.channels:
    raise validate.error(
      "latent",
      f"shape {shape}",
      f"shape (batch, height, width, channels = {config.channels})",
    )
  planes = jax.nn.one_hot(action, config.num_actions, dtype=latent.dtype)
  planes = jnp.broadcast_to(
    planes[:, None, None], (*shape[:-1], config.num_actions)
  )
  x = jnp.concatenate([latent, planes], axis=-1)
  x = jax.nn.relu(layers.conv(params["conv_in"], x, dtype=config.dtype))
  if config.norm == "batch":
    x = _batch_norm(config, params["norm"], x)
  x = layers.conv(params["conv_out"], x, dtype=config.dtype)
  if config.residual:
    x = x + latent
  x = jax.nn.relu(x)
  return layers.renormalize(x, config.epsilon) if config.renormalize else x


def _batch_norm(config, params, x):
  """Normalizes by mean and variance of this batch."""
  mean = x.mean(axis=(0, 1, 2))
  variance = jnp.square(x - mean).mean(axis=(0, 1, 2))
  scale = params["scale"] * jax.lax.rsqrt(variance + config.norm_epsilon)
  return (x - mean) * scale + params["bias"]


def apply(
  config: Config, params: Params, latent: Array, action: Array
) -> Array:
  """Rolls the model out.

  Args:
    config: options.
    params: from `init`.
    latent: (batch, height, width, channels), the latents to start from.
    action: (batch, steps) integers below num_actions, steps at least 1.

  Returns:
    The latents after each step, (batch, steps, height, width, channels).

  Raises:
    ValueError: if a shape does not fit.
  """
  check_actions(action, latent)
  if config.unroll:
    latents = [latent]
    for k in range(action.shape[1]):
      latents.append(step(config, params, latents[-1], action[:, k]))
    return jnp.stack(latents[1:], axis=1)

  def body(latent, action):
    latent = step(config, params, latent, action)
    return latent, latent

  return jnp.swapaxes(jax.lax.scan(body, latent, action.T)[1], 0, 1)


def check_actions(action: Array, latent: Array) -> None:
  """Raises a ValueError unless all latents have as many actions, 1 or more."""
  if action.ndim != 2 or len(action) != len(latent) or not action.size:
    raise validate.error(
      "action",
      f"shape {action.shape}",
      f"shape ({len(latent)}, steps), one for each latent, with steps >= 1",
    )
