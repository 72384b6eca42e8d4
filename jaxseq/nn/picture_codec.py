"""Pictures as codes: an autoencoder around a quantizer at one or more scales.

    codec = picture_codec.PictureCodec(picture_codec.CodecConfig(patch=4))
    variables = codec.init(key, pictures)  # (n, 16, 16) in 0 .. 1
    reconstruction, scales = codec.apply(variables, pictures)
    codec.apply(variables, scales.codes, method="by_scale")

One scale is the codec of a VQ-VAE (van den Oord et al., arXiv 1711.00937),
several are that of VAR (arXiv 2404.02905), see `multiscale`.
"""

import dataclasses

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.nn import multiscale


@dataclasses.dataclass(frozen=True)
class CodecConfig:
  """Options of a codec.

  Attributes:
    scales: options of the quantizer.
    patch: pixels of a place of the last scale along height and width.
    channels: width of the layers.
    blocks: number of residual blocks before the quantizer, and after it.
  """

  scales: multiscale.ScalesConfig = multiscale.ScalesConfig()
  patch: int = 4
  channels: int = 64
  blocks: int = 1

  def __post_init__(self):
    validate.at_least(self, patch=1, channels=1, blocks=0)

  @property
  def size(self) -> int:
    """Height and width of the pictures."""
    return self.patch * self.scales.sizes[-1]


class PictureCodec(linen.Module):
  """Encoder, quantizer and decoder of gray pictures.

  Attributes:
    config: options.
  """

  config: CodecConfig

  def setup(self) -> None:
    """Creates the layers."""
    config, scales = self.config, self.config.scales
    self.patches = linen.Dense(config.channels)
    self.encoder = [_Block(config.channels) for _ in range(config.blocks)]
    self.features = linen.Dense(scales.width)
    self.quantizer = multiscale.MultiScaleQuantizer(scales)
    self.widen = linen.Dense(config.channels)
    self.decoder = [_Block(config.channels) for _ in range(config.blocks)]
    self.pixels = linen.Dense(config.patch**2)

  def __call__(
    self, pictures: jax.Array
  ) -> tuple[jax.Array, multiscale.Scales]:
    """Returns the reconstruction of pictures, and their codes.

    Args:
      pictures: (*batch, height, width) in 0 .. 1, of the config's size.

    Returns:
      (*batch, height, width), and the quantizer's scales.

    Raises:
      ValueError: if their shape is different.
    """
    size = self.config.size
    validate.shape("pictures", pictures, ("*batch", size, size))
    *batch, _, _ = pictures.shape
    patch, places = self.config.patch, self.config.scales.sizes[-1]
    x = pictures.reshape(*batch, places, patch, places, patch)
    x = jnp.swapaxes(x, -3, -2).reshape(*batch, places, places, patch**2)
    x = self.patches(x - 0.5)
    for block in self.encoder:
      x = block(x)
    scales = self.quantizer(self.features(linen.gelu(x)))
    return self.draw(scales.output), scales

  def draw(self, features: jax.Array) -> jax.Array:
    """Maps (*batch, h, w, features) to pictures (*batch, height, width)."""
    patch, size = self.config.patch, self.config.size
    x = self.widen(features)
    for block in self.decoder:
      x = block(x)
    x = self.pixels(linen.gelu(x)) + 0.5
    *batch, height, width, _ = x.shape
    x = x.reshape(*batch, height, width, patch, patch)
    return jnp.swapaxes(x, -3, -2).reshape(*batch, size, size)

  def by_scale(self, codes: jax.Array) -> jax.Array:
    """Returns pictures of the first scales, (scales, *batch, height, width).

    Each is decoded from the codes (*batch, places) up to its scale.
    """
    return self.draw(self.quantizer.sums(codes))


class _Block(linen.Module):
  """Two convolutions with a residual connection."""

  channels: int

  @linen.compact
  def __call__(self, x):
    y = x
    for _ in range(2):
      y = multiscale.surroundings(linen.gelu(y))
      y = linen.Dense(self.channels)(y)
    return x + y
