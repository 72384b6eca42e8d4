"""Heads: dense layers on top of a sequence model, and the MLP they share."""

from collections.abc import Sequence
from typing import Literal
from typing import get_args

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.nn import dense
from jaxseq.nn import distributions
from jaxseq.nn import masks

_ACTIVATIONS = {
  "leaky_relu": linen.leaky_relu,
  "relu": linen.relu,
  "gelu": linen.gelu,
  "silu": linen.silu,
  "tanh": linen.tanh,
}
Pooling = Literal["none", "mean", "last"]


class MLP(linen.Module):
  """Dense layers with an activation between them.

  Attributes:
    widths: widths of the layers.
    activation: name of the activation.
    gain: gain of the orthogonal initialization; LeCun-normal if None.
    out_gain: gain of the last layer; `gain` if None.
    activate_last: whether the activation follows the last layer too.
    out_bias: whether the last layer has a bias.
    dtype: dtype of the activations; float64 inputs stay float64.
    wide: whether the outputs of the last layer are float32 if `dtype` is
      narrower.
  """

  widths: Sequence[int]
  activation: str = "leaky_relu"
  gain: float | None = None
  out_gain: float | None = None
  activate_last: bool = False
  out_bias: bool = True
  dtype: jax.typing.DTypeLike = "float32"
  wide: bool = False

  @linen.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (..., n) to (..., widths[-1])."""
    validate.choice("activation", self.activation, _ACTIVATIONS)
    dtype = dense.activation_dtype(self.dtype, x)
    for i, width in enumerate(self.widths):
      last = i == len(self.widths) - 1
      gain = self.out_gain if last and self.out_gain is not None else self.gain
      kernel_init = linen.initializers.lecun_normal()
      if gain is not None:
        kernel_init = linen.initializers.orthogonal(gain)
      x = dense.Dense(
        width,
        use_bias=self.out_bias or not last,
        dtype=dtype,
        kernel_init=kernel_init,
        wide=self.wide and last,
        name=f"dense_{i}",
      )(x)
      if not last or self.activate_last:
        x = _ACTIVATIONS[self.activation](x)
    return x


class Head(linen.Module, kw_only=True):
  """Base of all heads: an MLP from features to outputs.

  The default gains, unless a head overrides them, are those of arXiv:2303.03982
  for policies.

  Attributes:
    widths: widths of the hidden layers.
    activation: name of their activation.
    gain: gain of their orthogonal initialization; LeCun-normal if None.
    out_gain: gain of the last layer, `gain` if None; a small one makes policies
      near uniform at first.
    dtype: dtype of the activations; the outputs are at least float32.
  """

  widths: Sequence[int] = ()
  activation: str = "leaky_relu"
  gain: float | None = 2.0
  out_gain: float | None = 0.01
  dtype: jax.typing.DTypeLike = "float32"


class CategoricalHead(Head, kw_only=True):
  """Policy over n actions.

  Attributes:
    num_actions: n.
  """

  num_actions: int

  @linen.compact
  def __call__(self, x: jax.Array) -> distributions.Categorical:
    """Maps (..., n) features to a distribution with batch shape (...)."""
    return distributions.Categorical(_read_out(self, self.num_actions, x))


class GaussianHead(Head, kw_only=True):
  """Policy over vectors; its standard deviation does not depend on the input.

  Attributes:
    num_outputs: width of the vectors.
    log_std: initial logarithm of the standard deviation.
  """

  num_outputs: int
  log_std: float = 0.0

  @linen.compact
  def __call__(self, x: jax.Array) -> distributions.DiagonalGaussian:
    """Maps (..., n) features to a distribution with batch shape (...)."""
    mean = _read_out(self, self.num_outputs, x)
    log_std = self.param(
      "log_std", linen.initializers.constant(self.log_std), (self.num_outputs,)
    )
    return distributions.DiagonalGaussian(
      mean, jnp.broadcast_to(log_std, mean.shape)
    )


class SquashedGaussianHead(Head, kw_only=True):
  """Policy over vectors in (-1, 1); its deviation depends on the input.

  Attributes:
    num_outputs: width of the vectors.
    log_std_bounds: bounds to which the logarithm of the deviation is clipped.
  """

  num_outputs: int
  log_std_bounds: tuple[float, float] = (-20.0, 2.0)

  @linen.compact
  def __call__(self, x: jax.Array) -> distributions.SquashedGaussian:
    """Maps (..., n) features to a distribution with batch shape (...)."""
    outputs = _read_out(self, 2 * self.num_outputs, x)
    mean, log_std = jnp.split(outputs, 2, axis=-1)
    low, high = self.log_std_bounds
    return distributions.SquashedGaussian(mean, jnp.clip(log_std, low, high))


class ValueHead(Head, kw_only=True):
  """Value function."""

  out_gain: float | None = 1.0

  @linen.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (..., n) features to values (...)."""
    return _read_out(self, 1, x)[..., 0]


class RegressionHead(Head, kw_only=True):
  """Predicts vectors, or their mean and variance.

  Attributes:
    num_outputs: width of the vectors.
    with_variance: whether a second network predicts the variance, elu(v) + 1
      (Smith et al., arXiv:2208.04933, pendulum).
  """

  num_outputs: int
  activation: str = "tanh"
  gain: float | None = None
  out_gain: float | None = None
  with_variance: bool = False

  @linen.compact
  def __call__(self, x: jax.Array) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Maps (..., n) features to (..., num_outputs), or to a pair of them."""
    mean = _read_out(self, self.num_outputs, x)
    if not self.with_variance:
      return mean
    v = _read_out(self, self.num_outputs, x, "variance")
    return mean, linen.elu(v) + 1


class ClassificationHead(Head, kw_only=True):
  """Logits of classes, for each element, sequence, or pair of sequences.

  For a pair with the pooled features a and b it reads [a, b, a - b, a * b], as
  in the task Retrieval of the Long Range Arena (Tay et al., arXiv:2011.04006;
  Smith et al., arXiv:2208.04933), so that the order counts.

  Attributes:
    num_classes: number of classes.
    pooling: "none", "mean" over time, or "last" element.
    out_bias: whether the last layer has a bias.
    pairs: whether sequences come in pairs; they must be pooled.
  """

  num_classes: int
  pooling: Pooling = "mean"
  activation: str = "gelu"
  gain: float | None = None
  out_gain: float | None = None
  out_bias: bool = True
  pairs: bool = False

  @linen.compact
  def __call__(
    self, x: jax.Array, lengths: jax.Array | None = None
  ) -> jax.Array:
    """Maps features to logits.

    Args:
      x: (*batch, time, n); (*batch, n) also, with pooling "none"; (*batch, 2,
        time, n) for pairs.
      lengths: (*batch,) numbers of valid elements, (*batch, 2) for pairs; all
        are valid if None. The features of an empty sequence are zeros.

    Returns:
      (*batch, num_classes), or (*batch, time, num_classes) with pooling "none".

    Raises:
      ValueError: for an unknown pooling, one that pairs do not allow, or an
        array of another shape.
    """
    pooled = pool(self.pooling, x, lengths)
    if self.pairs:
      pooled = _match(self.pooling, x, pooled)
    return _read_out(self, self.num_classes, pooled, out_bias=self.out_bias)


class TiedHead(linen.Module):
  """Logits of tokens by their embedding, after a layer, as in BERT and ESM.

    logits = embedding norm(gelu(W x + b)) + bias

  Devlin et al., arXiv:1810.04805, with the exact GELU.

  Attributes:
    epsilon: added to the variance in the layer norm.
    dtype: dtype of the activations; float64 inputs stay float64.
  """

  epsilon: float = 1e-5
  dtype: jax.typing.DTypeLike = "float32"

  @linen.compact
  def __call__(self, x: jax.Array, embed: dense.Embed) -> jax.Array:
    """Maps (..., n) to logits (..., tokens), at least float32.

    Args:
      x: features of the embedding's width.
      embed: the embedding of the tokens.
    """
    dtype = dense.activation_dtype(self.dtype, x)
    x = dense.Dense(x.shape[-1], dtype=dtype, name="dense")(x)
    x = linen.gelu(x, approximate=False)
    x = linen.LayerNorm(epsilon=self.epsilon, dtype=dtype, name="norm")(x)
    zeros, shape = linen.initializers.zeros_init(), (embed.num_embeddings,)
    logits = embed.attend(x)
    return logits + self.param("bias", zeros, shape).astype(logits.dtype)


def _read_out(head, size, x, name="mlp", out_bias=True):
  """Runs the MLP of a head; the outputs are at least float32."""
  return MLP(
    (*head.widths, size),
    head.activation,
    head.gain,
    head.out_gain,
    out_bias=out_bias,
    dtype=head.dtype,
    wide=True,
    name=name,
  )(x)


def pool(
  pooling: Pooling, x: jax.Array, lengths: jax.Array | None = None
) -> jax.Array:
  """Reduces sequences to their mean or last element, or returns them unchanged.

  Args:
    pooling: "none", "mean" or "last".
    x: (*batch, time, n).
    lengths: (*batch,) numbers of valid elements; only these count, all if None.
      The mean and the last element of an empty sequence are zeros.

  Returns:
    (*batch, n); x with "none".

  Raises:
    ValueError: for an unknown pooling or an array of another shape.
  """
  validate.choice("pooling", pooling, get_args(Pooling))
  if pooling == "none":
    return x
  if jnp.ndim(x) < 2:
    raise validate.error(
      "x",
      f"shape {jnp.shape(x)}",
      f"(*batch, time, features) for pooling {pooling!r}",
    )
  if lengths is None:
    return x.mean(-2) if pooling == "mean" else x[..., -1, :]
  lengths = jnp.asarray(lengths)
  if lengths.shape != x.shape[:-2]:
    raise validate.error(
      "lengths", f"shape {lengths.shape}", f"shape {x.shape[:-2]}"
    )
  count = lengths[..., None]
  if pooling == "last":
    last = jnp.take_along_axis(x, count[..., None] - 1, axis=-2)[..., 0, :]
    return jnp.where(count > 0, last, 0)
  valid = masks.inside(x.shape[-2], lengths)
  # 16 bits are too few for sums of many elements, and for their number.
  wide = jnp.promote_types(x.dtype, jnp.float32)
  total = jnp.where(valid[..., None], x, 0).sum(-2, dtype=wide)
  return (total / jnp.maximum(count, 1).astype(wide)).astype(x.dtype)


def _match(pooling, x, pooled):
  """Returns pair features (*batch, 4 n) of pooled features (*batch, 2, n)."""
  if pooling == "none":
    raise validate.error("pooling", "none", "'mean' or 'last' for pairs")
  if jnp.ndim(x) < 3 or x.shape[-3] != 2:
    raise validate.error(
      "x", f"shape {x.shape}", "(*batch, 2, time, features) for pairs"
    )
  a, b = pooled[..., 0, :], pooled[..., 1, :]
  return jnp.concatenate([a, b, a - b, a * b], axis=-1)
