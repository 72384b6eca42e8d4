"""Variational auto-encoders of series: one code for a whole window.

    model = VAE(ModelConfig(), length=64, channels=1)
    variables = model.init(key, x)
    mu, logvar = model.apply(variables, x, method="encode")
    series = generate(model, variables, z)

The likelihood is Gaussian: p(x|z) = prod_t N(x_t; m_t, s^2), where m_t depends
on z, and on the elements before t if the decoder is autoregressive.
"""

import dataclasses
import itertools
import math

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.dts import decoders
from jaxseq.dts import series_encoders
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Options of a model.

  Attributes:
    encoder: from series to code.
    decoder: from code to series.
    latent: number D of coordinates of a code.
    segments: sizes of the code's segments, which add up to `latent`; one
      segment if empty.
    scale: standard deviation s of the likelihood; None learns one, from 1 on.
  """

  encoder: series_encoders.EncoderConfig = series_encoders.EncoderConfig()
  decoder: decoders.DecoderConfig = decoders.DecoderConfig()
  latent: int = 10
  segments: tuple[int, ...] = ()
  scale: float | None = None

  def __post_init__(self):
    validate.positive("latent", self.latent)
    sizes = self.segments
    if sizes and (sum(sizes) != self.latent or min(sizes) < 1):
      expected = f"sizes that add up to latent, {self.latent}"
      raise validate.error("segments", sizes, expected)
    if self.scale is not None:
      validate.above_zero("scale", self.scale)

  def ranges(self) -> tuple[tuple[int, int], ...]:
    """Returns the segments as half-open ranges of coordinates."""
    ends = itertools.accumulate(self.segments, initial=0)
    return tuple(itertools.pairwise(ends))


class VAE(linen.Module):
  """Encoder, decoder and the scale of the likelihood.

  Attributes:
    config: options.
    length: times of a window.
    channels: of a window.
  """

  config: ModelConfig
  length: int
  channels: int

  def setup(self):
    """Makes encoder, decoder and scale."""
    self.encoder = series_encoders.Encoder(
      self.config.encoder, self.config.latent
    )
    self.decoder = decoders.make(
      self.config.decoder, self.length, self.channels
    )
    if self.config.scale is not None:
      self.log_scale = math.log(self.config.scale)
    else:
      self.log_scale = self.param(
        "log_scale", linen.initializers.zeros, (), jnp.float32
      )

  def __call__(
    self, x: jax.Array, lengths: jax.Array | None = None
  ) -> jax.Array:
    """Encodes and decodes the mean: what initializes all parameters.

    Args:
      x: (*batch, length, channels).
      lengths: (*batch,) numbers of valid elements; None where all always are,
        for which an encoder may have other parameters.

    Returns:
      (*batch,) the result of `nll`.
    """
    mu, _ = self.encode(x, lengths)
    return self.nll(x, mu, lengths)

  def encode(
    self, x: jax.Array, lengths: jax.Array | None = None, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Returns mean and log-variance of q(z|x), (*batch, D) each.

    Args:
      x: (*batch, time, channels).
      lengths: (*batch,) numbers of valid elements; all are if None.
      train: whether dropout is on.
    """
    return self.encoder(x, lengths, train)

  def decode(
    self, z: jax.Array, x: jax.Array | None = None, train: bool = False
  ) -> jax.Array:
    """Returns the mean of p(x|z), see `decoders.Decoder`."""
    if self.config.decoder.form == "nonar":
      x = None
    return self.decoder(z, x, train)

  def nll(
    self,
    x: jax.Array,
    z: jax.Array,
    lengths: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """Returns -log p(x|z) in nats, summed over times and channels.

    Args:
      x: (*batch, length, channels).
      z: (*batch, D).
      lengths: (*batch,) numbers of valid elements, which alone count.
      train: whether dropout is on.

    Returns:
      (*batch,), all constants included.
    """
    mean = self.decode(z, x, train)
    each = (
      0.5 * jnp.square((x - mean) / jnp.exp(self.log_scale))
      + self.log_scale
      + 0.5 * math.log(2 * math.pi)
    ).sum(axis=-1)
    each = series_encoders.without_padding(each[..., None], lengths)
    return each[..., 0].sum(axis=-1)

  def begin(self, z: jax.Array) -> PyTree:
    """See `decoders.PastDecoder.begin`."""
    return self.decoder.begin(z)

  def step(
    self, z: jax.Array, previous: jax.Array, states: PyTree
  ) -> tuple[jax.Array, PyTree]:
    """See `decoders.PastDecoder.step`."""
    return self.decoder.step(z, previous, states)


def sample(key: jax.Array, mu: jax.Array, logvar: jax.Array) -> jax.Array:
  """Draws z ~ N(mu, diag exp(logvar)), with gradients through both."""
  noise = jax.random.normal(key, mu.shape, mu.dtype)
  return mu + jnp.exp(0.5 * logvar) * noise


def generate(
  model: VAE, variables: PyTree, z: jax.Array, prompt: jax.Array | None = None
) -> jax.Array:
  """Decodes without a true past: each element is fed its own mean.

  Args:
    model: the model.
    variables: of the model.
    z: (*batch, D).
    prompt: (*batch, n, channels), n <= length: true first elements, which are
      returned as they are; none if None. Of an autoregressive decoder.

  Returns:
    (*batch, length, channels).

  Raises:
    ValueError: a decoder that is not autoregressive gets a prompt.
  """
  if model.config.decoder.form == "nonar":
    if prompt is not None:
      expected = "None: the decoder is not autoregressive"
      raise validate.error("prompt", "an array", expected)
    return model.apply(variables, z, method="decode")
  start = 0 if prompt is None else prompt.shape[-2]
  padded = jnp.zeros((*z.shape[:-1], model.length, model.channels), z.dtype)
  if start:
    padded = padded.at[..., :start, :].set(prompt)
  states = model.apply(variables, z, method="begin")

  def body(carry, inputs):
    previous, states = carry
    true, is_given = inputs
    mean, states = model.apply(variables, z, previous, states, method="step")
    element = jnp.where(is_given, true, mean)
    return (element, states), element

  steps = (jnp.moveaxis(padded, -2, 0), jnp.arange(model.length) < start)
  _, series = lax.scan(body, (jnp.zeros_like(padded[..., 0, :]), states), steps)
  return jnp.moveaxis(series, 0, -2)
