"""Decoders: from a code to a series, autoregressive and others."""

import dataclasses
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.dts import backbones
from jaxseq.nn import dense
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class DecoderConfig(backbones.Backbone):
  """Options of a decoder.

  Attributes:
    form: "ar": p(x|z) is the product over t of p(x_t | x_<t, z), trained with
      the true past at the input. "nonar": every x_t depends on z alone.
    skip_z: whether every layer gets the code, and not the input alone; of "ar"
      and of mixers, since others have no input but the code.
    word_dropout: rate at which elements of the past are zeroed in training
      (Bowman et al., arXiv:1511.06349); of "ar" only.
  """

  _: dataclasses.KW_ONLY
  form: Literal["ar", "nonar"] = "nonar"
  skip_z: bool = False
  word_dropout: float = 0.0

  def __post_init__(self):
    super().__post_init__()
    if not 0 <= self.word_dropout < 1:
      raise validate.error("word_dropout", self.word_dropout, "0 <= rate < 1")
    if (self.form, self.kind) == ("ar", "mlp"):
      raise validate.error("form", "ar", "'nonar' for an MLP, without time")
    if self.form == "nonar" and self.word_dropout:
      raise validate.error("word_dropout", self.word_dropout, "0 for 'nonar'")
    if self.form == "nonar" and self.skip_z and not self.is_mixer:
      expected = f"False for form 'nonar' with kind {self.kind!r}"
      raise validate.error("skip_z", True, expected)
    layers = self.stack.num_layers if self.is_mixer else len(self.widths)
    if self.skip_z and layers < 2:
      expected = (
        f"False for {layers} layer: the code goes to those behind the first"
      )
      raise validate.error("skip_z", True, expected)


class Decoder(linen.Module):
  """The mean of p(x|z), with the past at the input or without.

  `make` returns the one of some options.

  Attributes:
    config: options.
    length: times of a series.
    channels: of a series.
  """

  config: DecoderConfig
  length: int
  channels: int

  def __call__(
    self, z: jax.Array, x: jax.Array | None = None, train: bool = False
  ) -> jax.Array:
    """Returns the mean of the series.

    Args:
      z: (*batch, D).
      x: (*batch, length, channels), the series; of "ar" only, where element t
        of the mean depends on those before t.
      train: whether dropout and `word_dropout` are on; they draw from the
        "dropout" keys.

    Returns:
      (*batch, length, channels).

    Raises:
      ValueError: if x is missing, or not needed.
    """
    if x is not None:
      expected = f"None for form {self.config.form!r}"
      raise validate.error("x", "an array", expected)
    return self._mean(z, train)


class PastDecoder(Decoder):
  """The mean of each element from those before it: mixers, convolutions."""

  def setup(self):
    """Makes the layers."""
    config = self.config
    if config.is_mixer:
      self.stack = backbones.Stack(config.stack, config.skip_z)
    else:
      self.stack = backbones.CausalConv(
        config.widths, conditioned=config.skip_z
      )
    self.out = dense.Dense(self.channels)

  def __call__(
    self, z: jax.Array, x: jax.Array | None = None, train: bool = False
  ) -> jax.Array:
    """Returns the mean of the series, see `Decoder`."""
    if x is None:
      raise validate.error("x", None, "the series for form 'ar'")
    past = jnp.pad(x[..., :-1, :], [(0, 0)] * (x.ndim - 2) + [(1, 0), (0, 0)])
    if train and self.config.word_dropout:
      keep = jax.random.bernoulli(
        self.make_rng("dropout"), 1 - self.config.word_dropout, past.shape[:-1]
      )
      past = jnp.where(keep[..., None], past, 0)
    h, _ = self.stack(_marked(past), z, self.begin(z), train=train)
    return self.out(h)

  def begin(self, z: jax.Array) -> PyTree:
    """Returns the states before the first element, which z sets.

    A mixer reads the code as an element of its own, in front of the series:
    that sets the state of any of them. Convolutions begin with zeros.
    """
    if not self.config.is_mixer:
      return self.stack.initial_state(z.shape[:-1], z.dtype)
    nothing = jnp.zeros((*z.shape[:-1], self.channels + 1), z.dtype)
    # The last input tells this element from a series' first.
    _, states = self.stack(nothing.at[..., -1].set(1), z, step=True)
    return states

  def step(
    self, z: jax.Array, previous: jax.Array, states: PyTree
  ) -> tuple[jax.Array, PyTree]:
    """Returns the mean of one element, given the one before it.

    Args:
      z: (*batch, D).
      previous: (*batch, channels), zeros in front of the first.
      states: from `begin` or the step before.

    Returns:
      (*batch, channels), and the states after it.
    """
    h, states = self.stack(_marked(previous), z, states, step=True)
    return self.out(h), states


class _Mixer(Decoder):
  """A stack of mixers that reads the code at every element."""

  def setup(self):
    self.stack = backbones.Stack(self.config.stack, self.config.skip_z)
    self.out = dense.Dense(self.channels)

  def _mean(self, z, train):
    # Mixers without positions need the time as an input.
    times = jnp.linspace(0, 1, self.length, dtype=z.dtype)[:, None]
    shape = *z.shape[:-1], self.length
    parts = [
      jnp.broadcast_to(x, (*shape, x.shape[-1]))
      for x in (z[..., None, :], times)
    ]
    inputs = jnp.concatenate(parts, axis=-1)
    h, _ = self.stack(inputs, z if self.config.skip_z else None, train=train)
    return self.out(h)


class _Mlp(Decoder):
  """Dense layers to the whole series."""

  def setup(self):
    self.hidden = [dense.Dense(width) for width in self.config.widths]
    self.out = dense.Dense(self.channels * self.length)

  def _mean(self, z, train):
    shape = *z.shape[:-1], self.length, self.channels
    for layer in self.hidden:
      z = linen.relu(layer(z))
    return self.out(z).reshape(shape)


class _Conv(Decoder):
  """Convolutions that double the length.

  Each has two outputs for each element (Shi et al., arXiv:1609.05158).
  """

  def setup(self):
    widths = self.config.widths
    self.start = dense.Dense(-(-self.length // 2 ** len(widths)) * widths[0])
    self.hidden = [
      backbones.Conv(2 * width, 3) for width in (*widths[1:], self.channels)
    ]

  def _mean(self, z, train):
    h = linen.relu(self.start(z))
    h = h.reshape(*z.shape[:-1], -1, self.config.widths[0])
    around = [(0, 0)] * (h.ndim - 2) + [(1, 1), (0, 0)]
    for i, layer in enumerate(self.hidden):
      h = layer(jnp.pad(linen.relu(h) if i else h, around))
      h = h.reshape(*h.shape[:-2], 2 * h.shape[-2], h.shape[-1] // 2)
    return h[..., : self.length, :]


_NONAUTOREGRESSIVE = {"mixer": _Mixer, "conv": _Conv, "mlp": _Mlp}


def make(config: DecoderConfig, length: int, channels: int) -> Decoder:
  """Returns the decoder of some options; see `Decoder`."""
  if config.form == "ar":
    return PastDecoder(config, length, channels)
  return _NONAUTOREGRESSIVE[config.kind](config, length, channels)


def _marked(x):
  """Appends the input that is 1 for the code's own element alone."""
  return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 1)])
