"""The feed-forward half of a Transformer-like block."""

import abc
from collections.abc import Callable
import functools
from typing import NamedTuple

from flax import linen
import jax

from jaxseq import validate
from jaxseq.nn import dense

# Parameter name of weights that are stored elsewhere.
ROWS = "rows"


class Rows(abc.ABC):
  """Weights of a feed-forward that are not arrays of the device.

  An instance replaces all other parameters under the name "rows"; it is a
  pytree node without leaves. `interop.streamed` reads them from a file.
  """

  @abc.abstractmethod
  def apply(self, x: jax.Array, step: bool) -> jax.Array:
    """Returns the feed-forward of x (..., n), in the shape and dtype of x.

    Args:
      x: (*batch, time, n), or (*batch, n) for one step.
      step: whether x is without a time axis.
    """


class Kind(NamedTuple):
  """A kind of feed-forward.

  Attributes:
    activation: activation of the hidden layer, or of its gate.
    gated: whether the activation multiplies a second dense layer of the input.
  """

  activation: Callable[[jax.Array], jax.Array]
  gated: bool


KINDS = {
  "relu": Kind(linen.relu, False),
  "gelu": Kind(linen.gelu, False),
  "exact_gelu": Kind(functools.partial(linen.gelu, approximate=False), False),
  "relu2": Kind(lambda x: linen.relu(x) ** 2, False),
  "swiglu": Kind(linen.silu, True),
  "geglu": Kind(linen.gelu, True),
}


def hidden(
  kind: str, values: jax.Array, gate: jax.Array | None = None
) -> jax.Array:
  """Returns the hidden layer of the dense output and, if gated, of the gate."""
  activated = KINDS[kind].activation(values)
  return activated if gate is None else activated * gate


class FeedForward(linen.Module):
  """Two dense layers with an activation, or a gated pair, between them.

  "relu", "gelu" (tanh approximation), "exact_gelu" (by the error function) and
  "relu2" (the square of relu, arXiv:2109.08668): W_2 act(W_1 x + b_1) + b_2, as
  in Vaswani et al., arXiv:1706.03762. "swiglu" and "geglu": W_3 (act(W_1 x) *
  W_2 x) with silu and gelu, without biases, as in Shazeer, arXiv:2002.05202.

  Attributes:
    kind: one of `KINDS`.
    width: width of the hidden layer.
    dropout: dropout rate after the activation; the mask is shared over time.
    dtype: dtype of the activations.
    bias: whether there are biases; the kind's default, as above, if None.
  """

  kind: str
  width: int
  dropout: float = 0.0
  dtype: jax.typing.DTypeLike = "float32"
  bias: bool | None = None

  @linen.compact
  def __call__(
    self, x: jax.Array, train: bool = False, step: bool = False
  ) -> jax.Array:
    """Maps (..., n) to the same shape.

    Args:
      x: (*batch, time, n), or (*batch, n) for one step.
      train: whether dropout is on.
      step: whether x is without a time axis.
    """
    if self.has_variable("params", ROWS):
      if train:
        expected = "False where weights are streamed, which are not trained"
        raise validate.error("train", train, expected)
      rows = self.get_variable("params", ROWS)
      return rows.apply(x.astype(self.dtype), step)
    gated = KINDS[self.kind].gated
    bias = not gated if self.bias is None else self.bias

    def layer(width, name):
      return dense.Dense(width, use_bias=bias, dtype=self.dtype, name=name)

    gate = None
    values = layer(self.width, "in")(x)
    if gated:
      gate = layer(self.width, "gate")(x)
    y = dense.dropout(
      hidden(self.kind, values, gate), self.dropout, train, step
    )
    return layer(x.shape[-1], "out")(y)
