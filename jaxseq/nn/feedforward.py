"""The feed-forward half of a Transformer-like block."""

from flax import linen
import jax

from jaxseq.nn import dense


class FeedForward(linen.Module):
  """Two dense layers with an activation, or a gated pair, between them.

  "relu" and "gelu" (tanh approximation): W_2 act(W_1 x + b_1) + b_2, as in
  Vaswani et al., arXiv:1706.03762. "swiglu": W_3 (silu(W_1 x) * W_2 x) without
  biases, as in Shazeer, arXiv:2002.05202.

  Attributes:
    kind: "relu", "gelu" or "swiglu".
    width: of the hidden layer.
    dropout: rate behind the activation; the mask is shared over time.
    dtype: dtype of the activations.
  """

  kind: str
  width: int
  dropout: float = 0.0
  dtype: jax.typing.DTypeLike = "float32"

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

    def layer(width, name):
      return dense.Dense(
        width, use_bias=self.kind != "swiglu", dtype=self.dtype, name=name
      )

    hidden = layer(self.width, "in")(x)
    if self.kind == "swiglu":
      hidden = linen.silu(hidden) * layer(self.width, "gate")(x)
    else:
      hidden = getattr(linen, self.kind)(hidden)
    hidden = dense.dropout(hidden, self.dropout, train, step)
    return layer(x.shape[-1], "out")(hidden)
