"""Backbones of encoders and decoders of series: mixers and convolutions."""

import dataclasses
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq import validate
from jaxseq.nn import dense
from jaxseq.types import PyTree

# One layer of an LSTM, as it is.
_LSTM = nn.StackConfig(
  "lstm",
  num_layers=1,
  norm="none",
  activation="none",
  residual=False,
  final_norm=False,
)


@dataclasses.dataclass(frozen=True)
class Backbone:
  """Options that encoders and decoders share.

  Attributes:
    kind: "mixer" (a stack of sequence layers), "conv" or "mlp".
    stack: the layers of a mixer, without batch norm.
    widths: channels of the convolutions, or hidden widths of the MLP; not of a
      mixer.
  """

  kind: Literal["mixer", "conv", "mlp"] = "mixer"
  stack: nn.StackConfig = _LSTM
  widths: tuple[int, ...] = ()

  def __post_init__(self):
    validate.literals(self)
    for width in self.widths:
      validate.positive("widths", width)
    if not self.is_mixer and not self.widths:
      raise validate.error("widths", (), f"some for kind {self.kind!r}")
    if self.is_mixer:
      self.stack.refuse(batch_norm="its statistics would tie series")

  @property
  def is_mixer(self) -> bool:
    """True if the backbone is a stack of sequence layers."""
    return self.kind == "mixer"


class Stack(linen.Module):
  """Sequence layers that may see a condition in front of every one.

  Attributes:
    config: of the layers.
    conditioned: whether the condition is added in front of every layer, and not
      of the first alone.
  """

  config: nn.StackConfig
  conditioned: bool = False

  @linen.compact
  def __call__(
    self,
    x: jax.Array,
    condition: jax.Array | None = None,
    states: PyTree = None,
    train: bool = False,
    step: bool = False,
    lengths: jax.Array | None = None,
  ) -> tuple[jax.Array, PyTree]:
    """Runs over a sequence, or over one element.

    Args:
      x: (*batch, time, features), without time in a step.
      condition: (*batch, n), or None; the same at all times.
      states: of the layers; fresh ones if None.
      train: whether dropout is on.
      step: whether x is one element.
      lengths: (*batch,) numbers of valid elements; all are if None.

    Returns:
      (*batch, time, width), without time in a step, and the states after it.
    """
    width = self.config.d_model
    dtype = dense.activation_dtype(self.config.dtype, x)
    x = dense.Dense(width, dtype=dtype, name="input")(x)
    if condition is not None and not self.conditioned:
      shift = dense.Dense(width, use_bias=False, dtype=dtype, name="condition")
      shift = shift(condition)
      x = x + (shift if step else shift[..., None, :])
    layers = nn.SequenceModel(self.config, name="layers")
    condition = condition if self.conditioned else None
    options = {"train": train, "step": step, "condition": condition}
    return layers(x, states, lengths=lengths, **options)


class Conv(linen.Module):
  """A convolution over time as a matrix product of windows.

  XLA's own ones take several times as long on CPUs, inside of loops above all.

  Attributes:
    width: channels of the result.
    kernel: width of the filters.
    stride: of the windows.
    dilation: distance between the elements of a window.
  """

  width: int
  kernel: int
  stride: int = 1
  dilation: int = 1

  @linen.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (*batch, time, channels) to all windows that lie inside.

    Returns:
      (*batch, (time - dilation * (kernel - 1) - 1) // stride + 1, width).
    """
    reach = self.dilation * (self.kernel - 1)
    count = (x.shape[-2] - reach - 1) // self.stride + 1
    end = (count - 1) * self.stride + 1
    starts = range(0, reach + 1, self.dilation)
    shifted = [x[..., i : i + end : self.stride, :] for i in starts]
    return dense.Dense(self.width, name="filters")(
      jnp.concatenate(shifted, axis=-1)
    )


class CausalConv(linen.Module):
  """Residual causal convolutions with dilations 1, 2, 4, ...

  What a layer has seen of the past is its state, so that steps and pieces give
  what the whole gives.

  Attributes:
    widths: channels of the layers, all the same.
    kernel: width of the filters.
    conditioned: whether the condition is added in every layer, and not in the
      first alone.
  """

  widths: tuple[int, ...]
  kernel: int = 3
  conditioned: bool = True

  @linen.compact
  def __call__(
    self,
    x: jax.Array,
    condition: jax.Array,
    states: PyTree,
    train: bool = False,
    step: bool = False,
  ) -> tuple[jax.Array, PyTree]:
    """Runs over a sequence, or over one element; see `Stack`."""
    del train
    if len(set(self.widths)) != 1:
      expected = "equal ones, of layers that add"
      raise validate.error("widths", self.widths, expected)
    width = self.widths[0]
    x = dense.Dense(width, name="input")(x)
    if step:
      x = x[..., None, :]
    after = []
    for i, past in enumerate(states):
      seen = jnp.concatenate([past, x], axis=-2)
      y = Conv(width, self.kernel, dilation=2**i, name=f"conv_{i}")(seen)
      if i == 0 or self.conditioned:
        name = f"condition_{i}"
        bias = dense.Dense(width, use_bias=False, name=name)(condition)
        y = y + bias[..., None, :]
      x = x + linen.relu(y)
      after.append(seen[..., seen.shape[-2] - past.shape[-2] :, :])
    return (x[..., 0, :] if step else x), tuple(after)

  @linen.nowrap
  def initial_state(
    self, batch_shape: tuple[int, ...], dtype: jax.typing.DTypeLike
  ) -> PyTree:
    """Returns what the layers see of the past before a series: zeros."""
    return tuple(
      jnp.zeros((*batch_shape, (self.kernel - 1) * 2**i, width), dtype)
      for i, width in enumerate(self.widths)
    )
