"""VAR's quantizer: codes of a feature map at several scales, coarse first.

    config = multiscale.ScalesConfig((1, 2, 4))
    quantizer = multiscale.MultiScaleQuantizer(config)
    variables = quantizer.init(key, features)  # (*batch, 4, 4, width)
    scales = quantizer.apply(variables, features)
    scales.codes  # (*batch, 1 + 4 + 16)

At each scale the residual of the scales before is downsampled and coded, and
its code vectors, upsampled again, are added up. A model that writes the scales
in turn reads the sum so far, in the size of the next scale. With one scale and
a residual ratio of 0 it is the quantizer of a VQ-VAE.

Source: Tian et al., arXiv 2404.02905; FoundationVision/VAR, models/quant.py,
  with the same weights and numbers.
"""

import dataclasses
import functools
from typing import NamedTuple

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.nn import quantizer as quantizers

# The value of torch's bicubic kernel; `jax.image.resize` has -0.5.
_CUBIC = -0.75


@dataclasses.dataclass(frozen=True)
class ScalesConfig:
  """Options of a quantizer at several scales.

  Attributes:
    sizes: number of places of each scale along height and width, ascending; the
      last one is that of the features.
    width: width of the features.
    codes: number of codes, shared by all scales.
    beta: weight of the loss that moves the features toward their codes.
    residual_ratio: weight of the convolution in a scale's contribution; 0 for
      no convolution.
    convolutions: number of convolutions that the scales share.
    cosine: whether the nearest code is the one with the smallest angle.
  """

  sizes: tuple[int, ...] = (1, 2, 4)
  width: int = 8
  codes: int = 128
  beta: float = 0.25
  residual_ratio: float = 0.5
  convolutions: int = 4
  cosine: bool = False

  def __post_init__(self):
    validate.at_least(self, width=1, codes=2, convolutions=1)
    validate.number("beta", self.beta, 0)
    validate.number("residual_ratio", self.residual_ratio, 0, 1)
    for size in self.sizes:
      validate.positive("sizes", size)
    if not self.sizes or any(np.diff(self.sizes) <= 0):
      expected = "sizes that ascend, such as (1, 2, 4)"
      raise validate.error("sizes", self.sizes, expected)

  @property
  def places(self) -> int:
    """Number of codes of a feature map."""
    return sum(size**2 for size in self.sizes)

  @property
  def slices(self) -> tuple[slice, ...]:
    """The slice of each scale's codes among all codes."""
    ends = np.cumsum([size**2 for size in self.sizes])
    return tuple(
      slice(int(end) - size**2, int(end)) for end, size in zip(ends, self.sizes)
    )

  @property
  def convolution_of_scale(self) -> tuple[int, ...]:
    """The index of each scale's convolution, the nearest one on a line."""
    count = self.convolutions
    edge = 1 / 3 / count if count == 4 else 1 / 2 / count
    ticks = np.linspace(edge, 1 - edge, count)
    last = max(len(self.sizes) - 1, 1)
    return tuple(
      int(np.argmin(np.abs(ticks - index / last)))
      for index in range(len(self.sizes))
    )


class Scales(NamedTuple):
  """A feature map coded at several scales.

  Attributes:
    codes: (*batch, places) int32, scale by scale, each row by row.
    residuals: (*batch, places, width), the vectors that the codes quantize.
    sums: (scales, *batch, height, width, features), the sum of the
      contributions up to each scale.
    output: (*batch, height, width, features), the last sum, with the features'
      gradient.
    loss: loss of codes and features, the mean over scales.
  """

  codes: jax.Array
  residuals: jax.Array
  sums: jax.Array
  output: jax.Array
  loss: jax.Array


@functools.cache
def upsampling(size: int, to: int) -> np.ndarray:
  """Returns the matrix (to, size) of torch's bicubic interpolation.

  Equals `align_corners=False` without antialiasing; `jax.image.resize` has
  another kernel.
  """
  matrix = np.zeros((to, size))
  for row in range(to):
    at = (row + 0.5) * size / to - 0.5
    first = int(np.floor(at))
    for tap in range(-1, 3):
      distance = abs(at - first - tap)
      column = min(max(first + tap, 0), size - 1)
      matrix[row, column] += _cubic(distance)
  return matrix


def _cubic(x):
  """Returns the bicubic interpolation kernel at a distance."""
  a = _CUBIC
  if x <= 1:
    return ((a + 2) * x - (a + 3)) * x * x + 1
  if x < 2:
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
  return 0.0


@functools.cache
def downsampling(size: int, to: int) -> np.ndarray:
  """Returns the matrix (to, size) of means over areas, which may overlap."""
  matrix = np.zeros((to, size))
  for row in range(to):
    begin, end = row * size // to, -(-(row + 1) * size // to)
    matrix[row, begin:end] = 1 / (end - begin)
  return matrix


def _resized(matrix, x):
  """Maps (*batch, h, w, features) along height and width."""
  matrix = jnp.asarray(matrix, x.dtype)
  return jnp.einsum("ip,...pqc,jq->...ijc", matrix, x, matrix)


def surroundings(x: jax.Array) -> jax.Array:
  """Returns the 3 x 3 surroundings of every place, a convolution's input.

  A product with these compiles well for many seeds side by side, unlike
  convolutions.

  Args:
    x: (*batch, h, w, features).

  Returns:
    (*batch, h, w, 9 * features), zeros outside of the map.
  """
  height, width = x.shape[-3:-1]
  padded = jnp.pad(x, [*(x.ndim - 3) * [(0, 0)], (1, 1), (1, 1), (0, 0)])
  around = [
    padded[..., i : i + height, j : j + width, :]
    for i in range(3)
    for j in range(3)
  ]
  return jnp.concatenate(around, axis=-1)


class MultiScaleQuantizer(linen.Module):
  """Codes of features at several scales.

  Attributes:
    config: options.
  """

  config: ScalesConfig

  def setup(self) -> None:
    """Creates the codebook and the convolutions."""
    config = self.config
    width = config.width
    normal = linen.initializers.normal(1.0)
    self.codebook = self.param("codebook", normal, (config.codes, width))
    self.restarts = self.variable(
      "restarts",
      "codebook",
      lambda: quantizers.Restarts(
        jnp.zeros((config.codes, width)), jnp.zeros(config.codes, jnp.int32)
      )._asdict(),
    )
    if config.residual_ratio:
      init = linen.initializers.lecun_normal(batch_axis=0)
      shape = config.convolutions, 3, 3, width, width
      self.kernel = self.param("kernel", init, shape)
      zeros = linen.initializers.zeros
      self.bias = self.param("bias", zeros, (config.convolutions, width))

  def __call__(self, features: jax.Array) -> Scales:
    """Quantizes features (*batch, height, width, features).

    Raises:
      ValueError: if their shape is not that of the last scale.
    """
    config = self.config
    last = config.sizes[-1]
    expected = "*batch", last, last, config.width
    validate.shape("features", features, expected)
    fixed = lax.stop_gradient(features)
    residual, total = fixed, jnp.zeros_like(fixed)
    codes, residuals, sums, loss = [], [], [], 0.0
    for scale in range(len(config.sizes)):
      small = self.inputs(residual, scale)
      residuals.append(small)
      codes.append(
        quantizers.nearest(
          small, lax.stop_gradient(self.book), cosine=config.cosine
        )
      )
      added = self.contribution(codes[-1], scale)
      total = total + added
      residual = residual - lax.stop_gradient(added)
      sums.append(total)
      moved = jnp.square(lax.stop_gradient(total) - features).mean()
      loss = loss + config.beta * moved + jnp.square(total - fixed).mean()
    return Scales(
      jnp.concatenate(codes, axis=-1),
      jnp.concatenate(residuals, axis=-2),
      lax.stop_gradient(jnp.stack(sums)),
      features + lax.stop_gradient(total - features),
      jnp.asarray(loss / len(config.sizes)),
    )

  @property
  def book(self) -> jax.Array:
    """The vectors of the codes, (codes, width)."""
    return jnp.asarray(self.codebook) + self.restarts.value["shift"]

  def contribution(self, codes: jax.Array, scale: int) -> jax.Array:
    """Returns a scale's addend of the sum, (*batch, height, width, features).

    Args:
      codes: (*batch, size * size) integers.
      scale: number of the scale.
    """
    config = self.config
    size, last = config.sizes[scale], config.sizes[-1]
    x = self.book[codes].reshape(*codes.shape[:-1], size, size, config.width)
    x = _resized(upsampling(size, last), x)
    ratio = config.residual_ratio
    if not ratio:
      return x
    index = config.convolution_of_scale[scale]
    kernel = self.kernel[index].reshape(-1, config.width)
    y = surroundings(x) @ kernel + self.bias[index]
    return (1 - ratio) * x + ratio * y

  def sums(self, codes: jax.Array) -> jax.Array:
    """Returns `Scales.sums` of codes (*batch, places)."""
    total, sums = 0.0, []
    for scale, part in enumerate(self.config.slices):
      total = total + self.contribution(codes[..., part], scale)
      sums.append(total)
    return jnp.stack(sums)

  def inputs(self, total: jax.Array, scale: int) -> jax.Array:
    """Returns features downsampled to the size of a scale.

    A model of the codes reads at a scale the sum of the scales before, in that
    size.

    Args:
      total: (*batch, height, width, features).
      scale: number of the scale.

    Returns:
      (*batch, size * size, features).
    """
    x, size = total, self.config.sizes[scale]
    if size < self.config.sizes[-1]:
      x = _resized(downsampling(self.config.sizes[-1], size), x)
    return x.reshape(*x.shape[:-3], size * size, x.shape[-1])
