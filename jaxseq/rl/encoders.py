"""Encoders: from stacked frames to a latent image.

The three convolutions of DQN (Mnih et al., 2015), or the residual network of
IMPALA (Espeholt et al., arXiv:1802.01561), as in SPR (arXiv:2007.05929,
appendix) and BBF (Schwarzer et al., arXiv:2305.19452). SPR's own encoder does
not pad and leaves 7x7x64; that of the later agents pads and leaves 11x11x64.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq.rl import layers

Array = jax.Array
Params = dict[str, dict]


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of an encoder; the defaults are those of SPR with augmentation.

  Attributes:
    kind: "conv" or "impala".
    image_shape: (height, width, stacked frames) of the input.
    channels: output channels of each convolution, or of each residual stage:
      (16, 32, 32) in IMPALA.
    width: factor on all channels.
    kernels: sizes of the convolutions' windows; for "conv".
    strides: of the convolutions; for "conv".
    padding: "VALID" or "SAME"; for "conv".
    blocks: residual blocks of a stage; for "impala".
    dropout: probability of dropping an element after each ReLU; for "conv".
    renormalize: whether each latent is mapped to [0, 1].
    epsilon: added to the range of a latent that is renormalised.
    initializer: "pytorch" or "xavier".
    dtype: what the convolutions multiply in, such as "bfloat16"; the dtype of
      the parameters if None.
  """

  kind: Literal["conv", "impala"] = "conv"
  image_shape: tuple[int, int, int] = (84, 84, 4)
  channels: tuple[int, ...] = (32, 64, 64)
  width: int = 1
  kernels: tuple[int, ...] = (8, 4, 3)
  strides: tuple[int, ...] = (4, 2, 1)
  padding: Literal["VALID", "SAME"] = "VALID"
  blocks: int = 2
  dropout: float = 0.0
  renormalize: bool = True
  epsilon: float = 1e-5
  initializer: layers.Initializer = "pytorch"
  dtype: str | None = None

  def __post_init__(self):
    layers.check_choice("kind", self.kind, ("conv", "impala"))
    layers.check_choice("padding", self.padding, ("VALID", "SAME"))
    layers.check_choice("initializer", self.initializer, layers.INITIALIZERS)
    layers.check_positive(self, "width", "blocks")
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout must be in [0, 1); got {self.dropout}.")
    if not self.epsilon >= 0:
      raise ValueError(f"epsilon must not be negative; got {self.epsilon}.")
    if self.kind == "impala" and self.dropout:
      raise ValueError(
        f"dropout must be 0 with kind 'impala'; got {self.dropout}."
      )
    if not self.channels:
      raise ValueError("channels must not be empty.")
    counts = {len(self.channels), len(self.kernels), len(self.strides)}
    if self.kind == "conv" and len(counts) > 1:
      raise ValueError(
        "channels, kernels and strides must be equally long; got "
        f"{self.channels}, {self.kernels} and {self.strides}."
      )
    if min(latent_shape(self)) < 1:
      raise ValueError(
        "image_shape must be large enough for kernels without padding; got "
        f"{self.image_shape} for {self.kernels} with strides {self.strides}."
      )


def latent_shape(config: Config) -> tuple[int, int, int]:
  """Returns (height, width, channels) of the latent."""
  sizes = list(config.image_shape[:2])
  if config.kind == "impala":
    steps = [(1, 2, "SAME")] * len(config.channels)
  else:
    steps = [
      (kernel, stride, config.padding)
      for kernel, stride in zip(config.kernels, config.strides)
    ]
  for kernel, stride, padding in steps:
    lost = kernel - 1 if padding == "VALID" else 0
    sizes = [math.ceil((size - lost) / stride) for size in sizes]
  return sizes[0], sizes[1], config.width * config.channels[-1]


def init(key: Array, config: Config) -> Params:
  """Draws the parameters.

  Args:
    key: random key.
    config: options.

  Returns:
    A nested dict of float32 arrays. For "conv", "conv_0", "conv_1", ...: layers
    with "w" (kernel, kernel, in, out) and "b" (out,). For "impala", "stage_0",
    ...: dicts of "in" and "block_0_0", "block_0_1" (the two convolutions of the
    first block), "block_1_0", ..., all of them layers of 3x3 windows.
  """
  params: Params = {}
  last = config.image_shape[-1]
  keys = jax.random.split(key, len(config.channels))
  for i, (key, channels) in enumerate(zip(keys, config.channels)):
    out = config.width * channels
    if config.kind == "conv":
      shape = (config.kernels[i], config.kernels[i], last, out)
      params[f"conv_{i}"] = layers.init(key, shape, config.initializer)
    else:
      params[f"stage_{i}"] = _init_stage(key, config, last, out)
    last = out
  return params


def _init_stage(key, config, last, out):
  names = [f"block_{i}_{j}" for i in range(config.blocks) for j in range(2)]
  keys = jax.random.split(key, len(names) + 1)
  stage = {"in": layers.init(keys[0], (3, 3, last, out), config.initializer)}
  for key, name in zip(keys[1:], names):
    stage[name] = layers.init(key, (3, 3, out, out), config.initializer)
  return stage


def apply(
  config: Config, params: Params, image: Array, key: Array | None = None
) -> Array:
  """Encodes images.

  Args:
    config: options.
    params: from `init`.
    image: (*batch, *image_shape); uint8, which are divided by 255, or
      floating, which are taken as they are.
    key: random key of the dropout; None leaves dropout off.

  Returns:
    Latents (*batch, *latent_shape(config)) in the dtype of the parameters.

  Raises:
    ValueError: if the images have another shape.
  """
  image = jnp.asarray(image)
  if image.shape[-3:] != tuple(config.image_shape):
    raise ValueError(
      f"image must have shape (*batch, *{tuple(config.image_shape)}); got "
      f"{image.shape}."
    )
  dtype = jax.tree.leaves(params)[0].dtype
  x = image.astype(dtype)
  if image.dtype == jnp.uint8:
    x = x / 255
  x = x.reshape(-1, *image.shape[-3:])
  if config.kind == "conv":
    x = _convolve(config, params, x, key)
  else:
    for i in range(len(config.channels)):
      x = _stage(config, params[f"stage_{i}"], x)
    x = jax.nn.relu(x)
  x = x.reshape(*image.shape[:-3], *x.shape[1:])
  return layers.renormalize(x, config.epsilon) if config.renormalize else x


def _convolve(config, params, x, key):
  drops = config.dropout > 0 and key is not None
  keys = jax.random.split(key, len(config.channels)) if drops else None
  for i, stride in enumerate(config.strides):
    x = layers.conv(
      params[f"conv_{i}"],
      x,
      stride=stride,
      padding=config.padding,
      dtype=config.dtype,
    )
    x = jax.nn.relu(x)
    if drops:
      kept = jax.random.bernoulli(keys[i], 1 - config.dropout, x.shape)
      x = jnp.where(kept, x / (1 - config.dropout), 0)
  return x


def _stage(config, stage, x):
  x = layers.max_pool(layers.conv(stage["in"], x, dtype=config.dtype))
  for i in range(config.blocks):
    y = x
    for j in range(2):
      y = layers.conv(
        stage[f"block_{i}_{j}"], jax.nn.relu(y), dtype=config.dtype
      )
    x = x + y
  return x
