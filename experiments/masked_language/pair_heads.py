"""Heads over all pairs of elements, such as contacts in a sequence.

    logits = PairHead(dilations=(1, 2, 4)).apply(variables, x, lengths)

`PairHead` reads the elements' features, `ContactHead` the attention maps.
"""

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.nn import convolutions
from jaxseq.nn import dense
from jaxseq.nn import masks


class PairHead(linen.Module):
  """Logits of pairs by convolutions over the pairs of elements' features.

  A dense layer maps the features to h; [h_i, h_j] of each pair passes a 1x1
  convolution, residual blocks (batch norm, ReLU, 3x3, dropout, ReLU, 3x3
  dilated) and a 3x3 convolution. The triangle above the diagonal is mirrored
  (ml4bio/RNA-FM, fm/downstream/pairwise_predictor/pairwise_concat.py; Chen et
  al., arXiv:2204.00300). The original has no padding; here it is masked.

  Attributes:
    width: width of h.
    channels: channels of the blocks.
    dilations: dilation of each block's second convolution.
    dropout: dropout rate in the blocks, in training.
    dtype: dtype of the activations; float64 inputs stay float64.
  """

  width: int = 128
  channels: int = 64
  dilations: tuple[int, ...] = (1, 2, 4)
  dropout: float = 0.3
  dtype: jax.typing.DTypeLike = "float32"

  @linen.compact
  def __call__(
    self,
    x: jax.Array,
    lengths: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """Maps features to logits of pairs.

    Args:
      x: (*batch, time, n).
      lengths: (*batch,) numbers of valid elements; all are valid if None. The
        padding does not change the valid outputs.
      train: whether dropout is on and batch norm uses, and updates, the
        statistics of the batch.

    Returns:
      (*batch, time, time), symmetric, at least float32.

    Raises:
      ValueError: if a shape does not fit.
    """
    *batch, time, _ = validate.shape("x", x, ("*batch", "time", "n"))
    dtype = dense.activation_dtype(self.dtype, x)
    if lengths is None:
      inside = jnp.ones((*batch, time), bool)
    else:
      validate.shape("lengths", lengths, tuple(batch))
      inside = masks.inside(time, lengths)
    pairs = (inside[..., :, None] & inside[..., None, :])[..., None]

    def convolved(y, name, size, channels, dilation=1, bias=False):
      return linen.Conv(
        channels,
        (size, size),
        kernel_dilation=dilation,
        use_bias=bias,
        dtype=dtype,
        conv_general_dilated=convolutions.for_linen,
        name=name,
      )(jnp.where(pairs, y, 0))

    h = dense.Dense(self.width, dtype=dtype, name="reduce")(x)
    shape = (*batch, time, time, self.width)
    rows, columns = h[..., :, None, :], h[..., None, :, :]
    y = jnp.concatenate(
      [jnp.broadcast_to(each, shape) for each in (rows, columns)], axis=-1
    )
    y = convolved(y, "first", 1, self.channels, bias=True)
    for i, dilation in enumerate(self.dilations):
      z = linen.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        dtype=dtype,
        name=f"block_{i}_norm",
      )(y, mask=pairs)
      z = convolved(linen.relu(z), f"block_{i}_in", 3, self.channels)
      z = linen.Dropout(self.dropout)(z, deterministic=not train)
      z = linen.relu(z)
      y = y + convolved(z, f"block_{i}_out", 3, self.channels, dilation)
    y = convolved(y, "final", 3, 1, bias=True)[..., 0]
    y = y.astype(jnp.promote_types(dtype, jnp.float32))
    return jnp.triu(y) + jnp.triu(y, 1).swapaxes(-1, -2)


class ContactHead(linen.Module):
  """Logits of contacts, a regression on attention maps (ESM).

  Rao et al., "Transformer protein language models are unsupervised structure
  learners", ICLR 2021.
  """

  @linen.compact
  def __call__(self, maps: jax.Array, inside: jax.Array) -> jax.Array:
    """Maps (*batch, n, time, time) and (*batch, time) to (*batch, time, time).

    Args:
      maps: n attention maps, of all layers and heads.
      inside: bool, the elements that are letters; others have no contacts.
    """
    features = corrected(maps, inside)
    return dense.Dense(1, name="regression")(jnp.moveaxis(features, -3, -1))[
      ..., 0
    ]


def corrected(maps: jax.Array, inside: jax.Array) -> jax.Array:
  """Returns symmetric maps, corrected for the effects of rows and columns.

  The average product correction of Dunn et al., Bioinformatics 24 (2008): a_ij
  - a_i. a_.j / a_.., with the sums over rows, columns and both.

  Args:
    maps: (*batch, n, time, time).
    inside: (*batch, time) bool; other elements are left out.

  Returns:
    maps' shape.
  """
  pairs = inside[..., :, None] & inside[..., None, :]
  a = jnp.where(pairs[..., None, :, :], maps, 0)
  a = a + a.swapaxes(-1, -2)
  rows = a.sum(axis=-1, keepdims=True)
  columns = a.sum(axis=-2, keepdims=True)
  total = a.sum(axis=(-1, -2), keepdims=True)
  return a - rows * columns / jnp.where(total > 0, total, 1)
