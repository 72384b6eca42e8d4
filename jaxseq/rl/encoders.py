"""Encoders from stacked frames or vectors to latent images.

The three convolutions of DQN (Mnih et al., 2015), or the residual network of
IMPALA (Espeholt et al., arXiv:1802.01561), as in SPR (arXiv:2007.05929,
appendix) and BBF (Schwarzer et al., arXiv:2305.19452). SPR's own encoder does
not pad and outputs 7x7x64; that of the later agents pads and outputs 11x11x64.
Vectors pass through dense layers, and their latent is an image of 1x1.
"""

import dataclasses
import math
from typing import Any
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl import layers

Array = jax.Array
Params = dict[str, dict]


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of an encoder; the defaults are those of SPR with augmentation.

  Attributes:
    kind: "conv" or "impala"; "mlp" for vectors.
    image_shape: (height, width, stacked frames) of the input; (n,) of vectors.
    channels: output channels of each convolution, of each residual stage,
      (16, 32, 32) in IMPALA, or of each dense layer.
    width: factor on all channels.
    kernels: sizes of the convolutions' windows; for "conv".
    strides: strides of the convolutions; for "conv".
    padding: "VALID" or "SAME"; for "conv".
    blocks: residual blocks of a stage; for "impala".
    dropout: probability of dropping an element after each ReLU; not for
      "impala".
    renormalize: whether each latent is mapped to [0, 1].
    epsilon: added to the range of a latent that is renormalized.
    initializer: "pytorch" or "xavier".
    dtype: dtype in which the convolutions multiply, such as "bfloat16"; the
      dtype of the parameters if None.
  """

  kind: Literal["conv", "impala", "mlp"] = "conv"
  image_shape: tuple[int, ...] = (84, 84, 4)
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
    validate.literals(self)
    counts = "width", "blocks"
    validate.fields(self, positive=counts, not_negative=("epsilon",))
    layers_of = _KINDS[self.kind]
    if not 0 <= self.dropout < 1 or (self.dropout and not layers_of.drops):
      expected = "[0, 1)" if layers_of.drops else f"0 with kind {self.kind!r}"
      raise validate.error("dropout", self.dropout, expected)
    if len(self.image_shape) != layers_of.axes:
      expected = f"{layers_of.axes} axes for kind {self.kind!r}"
      raise validate.error("image_shape", self.image_shape, expected)
    if not self.channels:
      raise validate.error("channels", self.channels, "one or more")
    layers_of.check(self)
    if min(latent_shape(self)) < 1:
      expected = f"room for kernels {self.kernels} with strides {self.strides}"
      raise validate.error("image_shape", self.image_shape, expected)


def suited(image_shape: tuple[int, ...]) -> dict[str, Any]:
  """Returns the `Config` fields to set for an input shape.

  Args:
    image_shape: (height, width, channels) of an image, or (n,) of a vector.

  Returns:
    A dense layer for vectors; one small convolution, as in MinAtar's paper, for
    images of less than 40 pixels; no fields for larger images.
  """
  if len(image_shape) == 1:
    return {"kind": "mlp", "channels": (256,), "dropout": 0.0}
  if min(image_shape[:2]) < 40:
    return {"kind": "conv", "channels": (16,), "kernels": (3,), "strides": (1,)}
  return {}


def latent_shape(config: Config) -> tuple[int, int, int]:
  """Returns (height, width, channels) of the latent."""
  height, width = _KINDS[config.kind].size(config)
  return height, width, config.width * config.channels[-1]


def init(key: Array, config: Config) -> Params:
  """Initializes the parameters.

  Returns:
    A nested dict of float32 arrays. For "conv", "conv_0", "conv_1", ...: layers
    with "w" (kernel, kernel, in, out) and "b" (out,). For "impala", "stage_0",
    ...: dicts of "in" and "block_0_0", "block_0_1" (the two convolutions of the
    first block), "block_1_0", ..., all of them layers of 3x3 windows. For
    "mlp", "dense_0", ...: layers with "w" (in, out).
  """
  params: Params = {}
  last = config.image_shape[-1]
  kind = _KINDS[config.kind]
  keys = jax.random.split(key, len(config.channels))
  for i, (key, channels) in enumerate(zip(keys, config.channels)):
    out = config.width * channels
    params[f"{kind.name}_{i}"] = kind.init(key, config, i, last, out)
    last = out
  return params


def apply(
  config: Config, params: Params, image: Array, key: Array | None = None
) -> Array:
  """Encodes images.

  Args:
    config: options.
    params: from `init`.
    image: (*batch, *image_shape); uint8 images are divided by 255, floating
      ones are used unchanged.
    key: random key of the dropout; None disables dropout.

  Returns:
    Latents (*batch, *latent_shape(config)) in the dtype of the parameters.

  Raises:
    ValueError: if the images have another shape.
  """
  image = jnp.asarray(image)
  axes = len(config.image_shape)
  if image.shape[-axes:] != tuple(config.image_shape):
    expected = f"(*batch, *{tuple(config.image_shape)})"
    raise validate.error("image", f"shape {image.shape}", expected)
  dtype = jax.tree.leaves(params)[0].dtype
  x = image.astype(dtype)
  if image.dtype == jnp.uint8:
    x = x / 255
  x = x.reshape(-1, *image.shape[-axes:])
  x = _KINDS[config.kind].apply(config, params, x, key)
  x = x.reshape(*image.shape[:-axes], *latent_shape(config))
  return layers.renormalize(x, config.epsilon) if config.renormalize else x


class _Layers:
  """Layers of one kind, each with a ReLU and dropout."""

  axes: int
  name: str
  drops = True

  def check(self, config):
    """Rejects options that do not fit each other."""

  def apply(self, config, params, x, key):
    """Runs all layers."""
    drops = config.dropout > 0 and key is not None
    keys = jax.random.split(key, len(config.channels)) if drops else None
    for i in range(len(config.channels)):
      x = jax.nn.relu(self.layer(config, params[f"{self.name}_{i}"], i, x))
      if drops:
        mask = jax.random.bernoulli(keys[i], 1 - config.dropout, x.shape)
        x = jnp.where(mask, x / (1 - config.dropout), 0)
    return x


class _Dense(_Layers):
  """Dense layers."""

  axes, name = 1, "dense"

  def size(self, config):
    return 1, 1

  def init(self, key, config, i, last, out):
    return layers.init(key, (last, out), config.initializer)

  def layer(self, config, params, i, x):
    return layers.dense(params, x)


class _Conv(_Layers):
  """Convolutions with the kernels and strides of the options."""

  axes, name = 3, "conv"

  def check(self, config):
    lists = config.channels, config.kernels, config.strides
    if len(set(map(len, lists))) > 1:
      names = "channels, kernels and strides"
      raise validate.error(names, lists, "as many of each")

  def size(self, config):
    sizes = config.image_shape[:2]
    for kernel, stride in zip(config.kernels, config.strides):
      lost = kernel - 1 if config.padding == "VALID" else 0
      sizes = [math.ceil((size - lost) / stride) for size in sizes]
    return sizes

  def init(self, key, config, i, last, out):
    shape = (config.kernels[i], config.kernels[i], last, out)
    return layers.init(key, shape, config.initializer)

  def layer(self, config, params, i, x):
    options = {"padding": config.padding, "dtype": config.dtype}
    return layers.conv(params, x, stride=config.strides[i], **options)


class _Impala(_Layers):
  """Residual stages of 3x3 windows, each of which halves the image."""

  axes, name, drops = 3, "stage", False

  def size(self, config):
    sizes = config.image_shape[:2]
    for _ in config.channels:
      sizes = [math.ceil(size / 2) for size in sizes]
    return sizes

  def init(self, key, config, i, last, out):
    names = [f"block_{i}_{j}" for i in range(config.blocks) for j in range(2)]
    keys = jax.random.split(key, len(names) + 1)
    stage = {"in": layers.init(keys[0], (3, 3, last, out), config.initializer)}
    for key, name in zip(keys[1:], names):
      stage[name] = layers.init(key, (3, 3, out, out), config.initializer)
    return stage

  def apply(self, config, params, x, key):
    for i in range(len(config.channels)):
      x = self.stage(config, params[f"{self.name}_{i}"], x)
    return jax.nn.relu(x)

  def stage(self, config, stage, x):
    x = layers.max_pool(layers.conv(stage["in"], x, dtype=config.dtype))
    for i in range(config.blocks):
      y = x
      for j in range(2):
        layer = stage[f"block_{i}_{j}"]
        y = layers.conv(layer, jax.nn.relu(y), dtype=config.dtype)
      x = x + y
    return x


# The layers of `Config.kind`.
_KINDS = {"conv": _Conv(), "impala": _Impala(), "mlp": _Dense()}


class ImageEncoder(linen.Module):
  """An encoder of images of any size, as a Flax module.

  Attributes:
    config: options; image_shape comes from the images. Without dropout.
  """

  config: Config

  @linen.compact
  def __call__(self, image: Array) -> Array:
    """Maps (*batch, height, width, channels) to flat latents (*batch, n)."""
    config = dataclasses.replace(self.config, image_shape=image.shape[-3:])
    params = self.param("layers", lambda key: init(key, config))
    latent = apply(config, params, image)
    return latent.reshape(*image.shape[:-3], -1)
