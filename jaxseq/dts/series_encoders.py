"""Encoders: from a series to the mean and log-variance of its code."""

import dataclasses
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.dts import backbones
from jaxseq.nn import bidirectional
from jaxseq.nn import dense
from jaxseq.nn import heads
from jaxseq.nn import masks

LOGVAR_MIN, LOGVAR_MAX = -10.0, 4.0


@dataclasses.dataclass(frozen=True)
class EncoderConfig(backbones.Backbone):
  """Options of an encoder.

  Attributes:
    bidirectional: whether a mixer also reads the series from its end.
    pooling: of a mixer's outputs, or of the convolutions' where the lengths of
      series differ: "last" (each direction's last output; convolutions keep the
      whole map) or "mean".
  """

  _: dataclasses.KW_ONLY
  bidirectional: bool = True
  pooling: Literal["last", "mean"] = "last"


def without_padding(x: jax.Array, lengths: jax.Array | None) -> jax.Array:
  """Returns series (*batch, time, n) with zeros behind their ends."""
  if lengths is None:
    return x
  valid = masks.inside(x.shape[-2], lengths)
  return jnp.where(valid[..., None], x, 0)


class Encoder(linen.Module):
  """Backbone, and dense layers to mean and log-variance.

  Attributes:
    config: options.
    latent: number D of coordinates.
  """

  config: EncoderConfig
  latent: int

  @linen.compact
  def __call__(
    self, x: jax.Array, lengths: jax.Array | None = None, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Encodes.

    Args:
      x: (*batch, time, channels).
      lengths: (*batch,) numbers of valid elements; all are if None. What lies
        behind them changes nothing.
      train: whether dropout is on.

    Returns:
      mu and logvar, (*batch, D) each, the latter in [-10, 4].

    Raises:
      ValueError: an MLP gets series of different lengths.
    """
    backbone = {
      "mixer": self._read,
      "conv": self._convolve,
      "mlp": self._flatten,
    }[self.config.kind]
    h = backbone(without_padding(x, lengths), lengths, train)
    mu = dense.Dense(self.latent, name="mu")(h)
    logvar = dense.Dense(self.latent, name="logvar")(h)
    return mu, jnp.clip(logvar, LOGVAR_MIN, LOGVAR_MAX)

  def _flatten(self, x, lengths, train):
    """Returns what dense layers keep of series."""
    del train
    if lengths is not None:
      raise validate.error("lengths", "an array", "None for an MLP")
    h = x.reshape(*x.shape[:-2], -1)
    for i, width in enumerate(self.config.widths):
      h = linen.relu(dense.Dense(width, name=f"dense_{i}")(h))
    return h

  def _convolve(self, x, lengths, train):
    """Returns what convolutions keep of series."""
    del train
    for i, width in enumerate(self.config.widths):
      ends = (1, 1 + x.shape[-2] % 2)
      x = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [ends, (0, 0)])
      x = linen.relu(backbones.Conv(width, 4, stride=2, name=f"conv_{i}")(x))
      if lengths is not None:
        lengths = (lengths + 1) // 2
        # A window that reaches over the end sees zeros, as at a series' own.
        x = without_padding(x, lengths)
    if lengths is None and self.config.pooling == "last":
      return x.reshape(*x.shape[:-2], -1)
    return heads.pool("mean", x, lengths)

  def _read(self, x, lengths, train):
    """Returns what a mixer keeps of series, of one direction or both."""
    directions = [("forward", x)]
    if self.config.bidirectional:
      directions.append(("backward", bidirectional.reverse(x, lengths)))
    features = []
    for name, series in directions:
      stack = backbones.Stack(self.config.stack, name=name)
      y, _ = stack(series, train=train, lengths=lengths)
      features.append(heads.pool(self.config.pooling, y, lengths))
    return jnp.concatenate(features, axis=-1)
