"""A weight with a low-rank update for each row of a batch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import low_rank
from jaxseq.recurrence.shared import weights

# Products with more adapters at once take longer than gathering factors.
_MOST_AT_ONCE = 16


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("w", "a", "b", "gain", "rows"),
  meta_fields=("path",),
)
@dataclasses.dataclass(frozen=True)
class LowRankRows(weights.Weight):
  """Weights w + a[i] b[i], with the adapter i of each row of a batch.

  Several adapters serve one batch (S-LoRA, arXiv:2311.03285): the product with
  w is shared by all rows. The factors are gathered by row, or, if there are
  fewer adapters than rows of one element each, all are multiplied at once, and
  products with other adapters are masked.

      w = recurrence.LowRankRows(w, a, b, rows=jnp.array([0, 2, 1, 2]))
      y = recurrence.dense(x, w, bias)

  Attributes:
    w: (n, m), an array or another `Weight`.
    a: (adapters, n, r).
    b: (adapters, r, m), with the scale in it.
    gain: (adapters, m), factors of the columns of the sums; or None.
    rows: (rows,) int32, the adapter of each element of x's first axis; None
      before it is known. All may have the same axes before these.
    path: path of the parameter in the variables, for messages.
  """

  w: jax.Array | weights.Weight
  a: jax.Array
  b: jax.Array
  gain: jax.Array | None = None
  rows: jax.Array | None = None
  path: str = "the weight"

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of w."""
    return self.w.shape

  @property
  def dtype(self) -> jnp.dtype:
    """Dtype of w."""
    return self.w.dtype

  def at(self, rows: jax.Array) -> "LowRankRows":
    """Returns the weight for rows (rows,) of adapters' numbers."""
    rows = jnp.asarray(rows, jnp.int32)
    axes = *self.shape[:-2], *rows.shape
    return dataclasses.replace(self, rows=jnp.broadcast_to(rows, axes))

  def apply(self, x: jax.Array, wide: bool = False) -> jax.Array:
    """Returns the products of x (rows, ..., n), (rows, ..., m)."""
    rows = self._rows_of(x, 2, "a product of (rows, ..., n)")
    y = _contractions.dense(x, self.w, wide=True)
    if x.ndim == 2 and len(self.a) < min(len(x), _MOST_AT_ONCE):
      y = y + _masked(x, self.a, self.b, rows)
    else:
      y = y + jax.vmap(_thin)(x, self.a[rows], self.b[rows])
    if self.gain is not None:
      gain = self.gain[rows].astype(y.dtype)
      y = y * gain.reshape(len(x), *[1] * (x.ndim - 2), gain.shape[-1])
    return y if wide else y.astype(x.dtype)

  def take(self, indices: jax.Array) -> jax.Array:
    """Returns rows (rows, ..., m) of the sums by number, without a gain.

    Args:
      indices: (rows, ...) integers, such as tokens.
    """
    self._check_plain()
    rows = self._rows_of(indices, 1, "numbers (rows, ...)")
    is_weight = isinstance(self.w, weights.Weight)
    w = self.w
    y = w.take(indices) if is_weight else jnp.take(w, indices, axis=0)
    every = rows.reshape(-1, *[1] * (indices.ndim - 1))
    product = functools.partial(_contractions.dense, wide=True)
    low = jax.vmap(product)(self.a[every, indices], self.b[rows])
    return (y + low).astype(y.dtype)

  def of_elements(self, count: int) -> "LowRankRows":
    """Returns a stack of weights for the elements (count, n) of all rows."""
    if self.rows is None or count % self.rows.shape[-1]:
      got = None if self.rows is None else self.rows.shape[-1]
      raise validate.error(self.path, f"{got} rows", f"a divisor of {count}")
    self._check_plain()
    rows = jnp.asarray(self.rows, jnp.int32)
    rows = jnp.repeat(rows, count // rows.shape[-1], axis=-1)
    return dataclasses.replace(self, rows=rows)

  def pick(self, indices: jax.Array) -> "LowRankRows":
    """Returns one of a stack of weights for all rows, by its number."""
    return jax.tree.map(lambda x: jnp.take(x, indices, axis=0), self)

  def pick_each(self, indices: jax.Array) -> low_rank.LowRank:
    """Returns some of a stack of weights for each of its elements.

    Args:
      indices: (elements, k) numbers; see `of_elements`.
    """
    w = jax.tree.map(lambda x: jnp.take(x, indices, axis=0), self.w)
    rows = self.rows[0][:, None]
    a, b = self.a[indices, rows], self.b[indices, rows]
    return low_rank.LowRank(w, a, b, path=self.path)

  def _check_plain(self):
    """Rejects gains of weights whose sums are not formed here."""
    if self.gain is not None:
      raise weights.Misplaced(
        f"{self.path}: got magnitudes (DoRA) of one of several adapters, "
        "expected none for experts and embeddings: merge that adapter."
      )

  def _rows_of(self, x, least, what):
    """The adapters of the first axis of x, which has at least so many axes."""
    if self.rows is None or x.ndim < least or len(x) != len(self.rows):
      count = None if self.rows is None else len(self.rows)
      expected = f"{what} with {count} rows"
      raise validate.error(self.path, f"shape {x.shape}", expected)
    # Mixers that cast all parameters to one dtype cast these, too.
    return jnp.asarray(self.rows, jnp.int32)


def _thin(x, a, b):
  """Product of one row and its two factors."""
  return _contractions.dense(_contractions.dense(x, a), b, wide=True)


def _masked(x, a, b, rows):
  """Products of x (rows, n) with all factors; each row keeps its own."""
  # Factors are finite, so that what is masked adds zeros.
  adapters, n, rank = a.shape
  low = _contractions.dense(x, jnp.moveaxis(a, 0, 1).reshape(n, -1))
  own = rows[:, None] == jnp.repeat(jnp.arange(adapters), rank)
  low = jnp.where(own, low, 0)
  return _contractions.dense(low, b.reshape(adapters * rank, -1), wide=True)
