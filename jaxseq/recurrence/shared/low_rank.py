"""A weight and a product of two thin matrices beside it."""

import dataclasses
import functools
from typing import Self

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import weights


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("w", "a", "b", "magnitude", "factors"),
  meta_fields=("scale", "path"),
)
@dataclasses.dataclass(frozen=True)
class LowRank(weights.Weight):
  """The weight w + scale a b (LoRA, arXiv:2106.09685), which is never computed.

  With a magnitude (DoRA, arXiv:2402.09353) column j of the sum is multiplied by
  magnitude[j] and divided by its norm, without a gradient of the norm; only the
  norm needs the sum, once in `with_factors`, or in each product.

      w = recurrence.LowRank(w, a, b, scale=2.0)
      y = recurrence.dense(x, w, bias)

  Attributes:
    w: (n, m), an array or another `Weight`.
    a: (n, r).
    b: (r, m).
    magnitude: (m,), or None. All may have the same axes before these.
    scale: factor of a b.
    path: path of the parameter in the variables, for messages.
    factors: (m,), those of the columns, from `with_factors`; or None.
  """

  w: jax.Array | weights.Weight
  a: jax.Array
  b: jax.Array
  magnitude: jax.Array | None = None
  scale: float = 1.0
  path: str = "the weight"
  factors: jax.Array | None = None

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of w."""
    return self.w.shape

  @property
  def dtype(self) -> jnp.dtype:
    """Dtype of w."""
    return self.w.dtype

  def apply(self, x: jax.Array, wide: bool = False) -> jax.Array:
    """Returns x w + scale (x a) b, (..., m)."""
    return self._product(x, x, wide)

  def take(self, indices: jax.Array) -> jax.Array:
    """Returns rows (..., m) of w + scale a b, without a magnitude."""
    if self.magnitude is not None:
      return self.elsewhere()
    is_weight = isinstance(self.w, weights.Weight)
    w = self.w
    rows = w.take(indices) if is_weight else jnp.take(w, indices, axis=0)
    low = jnp.take(self.a, indices, axis=0)
    low = _contractions.dense(low, self.b, wide=True)
    return (rows + self.scale * low).astype(rows.dtype)

  def pick(self, indices: jax.Array) -> "LowRank":
    """Returns some of a stack of weights, such as experts, by their numbers."""
    return jax.tree.map(lambda x: jnp.take(x, indices, axis=0), self)

  def array(self) -> jax.Array:
    """Returns the weight as an array, in the dtype of w."""
    return self.merged()

  def _product(self, x, inner, wide):
    """The product with x; a is multiplied by `inner` instead."""
    y = _contractions.dense(x, self.w, wide=True)
    low = _contractions.dense(inner, self.a)
    y = y + self.scale * _contractions.dense(low, self.b, wide=True)
    if self.magnitude is not None:
      y = y * self.gain().astype(y.dtype)
    return y if wide else y.astype(x.dtype)

  def merged(self) -> jax.Array:
    """Returns the weight as an array, in the dtype of w."""
    total = self._sum()
    if self.magnitude is not None:
      total = total * self._gain(total)[..., None, :]
    return total.astype(self.w.dtype)

  def with_factors(self) -> Self:
    """Returns this weight with the factors of its columns, if it has any."""
    if self.magnitude is None:
      return self
    return dataclasses.replace(self, factors=self.gain())

  def gain(self) -> jax.Array:
    """Returns the factors (m,) of the columns of the sum."""
    return self._gain(self._sum()) if self.factors is None else self.factors

  def _sum(self):
    """Returns w + scale a b, at least float32."""
    dtype = jnp.promote_types(self.w.dtype, jnp.float32)
    exact = lax.Precision.HIGHEST
    low = jnp.matmul(self.a, self.b, precision=exact).astype(dtype)
    w = self.w.array() if isinstance(self.w, weights.Weight) else self.w
    return w.astype(dtype) + self.scale * low

  def _gain(self, total):
    """Returns the factors (m,) of the columns, for their sum."""
    norm = lax.stop_gradient(jnp.linalg.norm(total, axis=-2))
    # The factor of a column of zeros is the magnitude.
    return self.magnitude / jnp.where(norm == 0, 1, norm)
