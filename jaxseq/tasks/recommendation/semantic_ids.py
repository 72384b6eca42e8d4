"""Semantic ids: items as short sequences of codes, similar for similar items.

    vectors = semantic_ids.word_vectors(texts, 64)
    fitted = semantic_ids.fit(jax.random.key(0), vectors, codes=64, levels=3)
    ids = semantic_ids.identifiers(fitted.codes)  # (items, levels + 1)

A vector is encoded, and quantized level by level: each level selects the code
nearest to the residual of the levels before it. A last number distinguishes
items with equal codes, so that each id belongs to one item (TIGER, Rajput et
al., arXiv:2305.05065; the autoencoder is that of facebookresearch's
preference_discerning, arXiv:2412.08604, with unused codes restarted).
"""

from collections.abc import Sequence
import functools
from typing import Any
from typing import NamedTuple

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import sparse
from scipy.sparse import linalg

from jaxseq import validate
from jaxseq.nn import quantizer as quantizers
from jaxseq.tasks.recommendation import item_texts
from jaxseq.types import PyTree

# Updates between restarts of unused codes, and rounds of k-means.
_RESTART, _ROUNDS = 50, 10


class Losses(NamedTuple):
  """Terms of the loss of a `Quantizer`; the loss is their sum.

  Attributes:
    reconstruction: mean squared error of the decoded vectors.
    embedding: squared distance of codes and residuals, which moves the codes.
    commitment: the same, which moves the residuals.
  """

  reconstruction: jax.Array
  embedding: jax.Array
  commitment: jax.Array


class Quantizer(linen.Module):
  """A residual-quantized autoencoder of vectors.

  Attributes:
    inputs: width of the vectors.
    hidden: widths of the encoder's layers; the decoder's are their reverse.
    width: width of the quantized vectors.
    levels: codes of a vector.
    codes: number of codes of a level.
    beta: weight of the commitment.
  """

  inputs: int
  hidden: tuple[int, ...] = (128, 64)
  width: int = 32
  levels: int = 3
  codes: int = 64
  beta: float = 0.25

  def setup(self) -> None:
    """Creates encoder, codes and decoder."""
    self.encoder = _Perceptron(self.hidden, self.width)
    self.decoder = _Perceptron(self.hidden[::-1], self.inputs)
    shape = self.levels, self.codes, self.width
    self.codebooks = self.param("codebooks", linen.initializers.normal(), shape)

  def __call__(self, x: jax.Array) -> tuple[Losses, quantizers.Quantized]:
    """Returns the losses of vectors (n, inputs), and their codes.

    The residuals depend on the codes before them, so that the commitment of
    later levels also moves these codes.
    """
    z = self.encoder(x)
    quantized = self.quantize(z)
    total = quantized.chosen.sum(axis=1)
    decoded = self.decoder(z + lax.stop_gradient(total - z))
    residuals, chosen = quantized.residuals, quantized.chosen
    losses = Losses(
      jnp.square(decoded - x).mean(),
      jnp.square(lax.stop_gradient(residuals) - chosen).mean(),
      self.beta * jnp.square(residuals - lax.stop_gradient(chosen)).mean(),
    )
    return losses, quantized

  def encode(self, x: jax.Array) -> jax.Array:
    """Returns encoded vectors (n, width) of vectors (n, inputs)."""
    return self.encoder(x)

  def quantize(self, z: jax.Array) -> quantizers.Quantized:
    """Quantizes encoded vectors (n, width)."""
    return quantizers.quantize(z, self.codebooks)


class _Perceptron(linen.Module):
  """Layers with norms, each with a linear skip connection."""

  hidden: tuple[int, ...]
  width: int

  @linen.compact
  def __call__(self, x):
    for width in self.hidden:
      main = linen.LayerNorm(epsilon=1e-5)(linen.Dense(width)(x))
      x = linen.relu(main) + linen.Dense(width, use_bias=False)(x)
    return linen.Dense(self.width)(x)


class Fitted(NamedTuple):
  """A quantizer fitted to the vectors of items.

  Attributes:
    quantizer: the module.
    variables: variables of the quantizer.
    codes: (items, levels) int32.
    usage: per level, the share of the codes that any item has.
    reconstruction: mean squared error of the decoded vectors.
  """

  quantizer: Quantizer
  variables: PyTree
  codes: np.ndarray
  usage: np.ndarray
  reconstruction: float


def fit(
  key: jax.Array,
  vectors: np.ndarray,
  *,
  updates: int = 500,
  learning_rate: float = 1e-3,
  **options: Any,
) -> Fitted:
  """Trains a quantizer on the vectors of all items at once.

  The codes are initialized by k-means, level by level. Every 50 updates each
  code without items is replaced by a randomly drawn residual: without that most
  codes may stay unused.

  Args:
    key: key of all random draws.
    vectors: (items, inputs).
    updates: number of updates, by AdamW with a weight decay of .1.
    learning_rate: learning rate of AdamW.
    **options: fields of `Quantizer` except `inputs`.
  """
  validate.integer("updates", updates, 1)
  x = jnp.asarray(vectors, jnp.float32)
  quantizer = Quantizer(x.shape[1], **options)
  keys = jax.random.split(key, 3)
  variables = quantizer.init(keys[0], x[:1])
  books = _means(keys[1], quantizer, variables, x)
  variables = {"params": {**variables["params"], "codebooks": books}}
  variables, losses, codes = _trained(
    quantizer, learning_rate, updates, keys[2], variables, x
  )
  codes = np.asarray(codes)
  usage = quantizers.usage(codes, quantizer.codes)
  reconstruction = float(losses.reconstruction)
  return Fitted(quantizer, variables, codes, usage, reconstruction)


@functools.partial(jax.jit, static_argnums=1)
def _means(key, quantizer, variables, x):
  """The codes of all levels by k-means on the residuals."""
  z, books = quantizer.apply(variables, x, method="encode"), []
  for level_key in jax.random.split(key, quantizer.levels):
    places = jax.random.choice(
      level_key, len(z), (quantizer.codes,), replace=len(z) < quantizer.codes
    )

    def improved(book, _, z=z):
      codes = quantizers.nearest(z, book)
      hits = jax.nn.one_hot(codes, quantizer.codes, dtype=z.dtype)
      counts = hits.sum(axis=0)[:, None]
      means = hits.T @ z / jnp.maximum(counts, 1)
      return jnp.where(counts > 0, means, book), None

    book, _ = lax.scan(improved, z[places], None, length=_ROUNDS)
    books.append(book)
    z = z - book[quantizers.nearest(z, book)]
  return jnp.stack(books)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _trained(quantizer, learning_rate, updates, key, variables, x):
  """Variables after all updates, with their losses and codes."""
  # Created here: as a static argument each optimizer would compile again.
  optimizer = optax.adamw(learning_rate, weight_decay=0.1)

  def loss(variables):
    losses, quantized = quantizer.apply(variables, x)
    return sum(losses), quantized

  def update(carry, number):
    variables, state = carry
    gradient, quantized = jax.grad(loss, has_aux=True)(variables)
    step, state = optimizer.update(gradient, state, variables)
    variables = optax.apply_updates(variables, step)
    due = (number % _RESTART == _RESTART - 1) & (number < 0.8 * updates)
    books = quantizers.revived(
      jax.random.fold_in(key, number),
      variables["params"]["codebooks"],
      jnp.moveaxis(quantized.residuals, 1, 0),
      due & ~quantizers.used(quantized.codes.T, quantizer.codes),
    )
    variables = {"params": {**variables["params"], "codebooks": books}}
    return (variables, state), None

  start = variables, optimizer.init(variables)
  (variables, _), _ = lax.scan(update, start, jnp.arange(updates))
  losses, quantized = quantizer.apply(variables, x)
  return variables, losses, quantized.codes


def identifiers(codes: np.ndarray) -> np.ndarray:
  """Returns unique ids of items, (items, levels + 1) int32.

  The last number counts the earlier items with the same codes.

    >>> identifiers(np.array([[3, 1], [0, 2], [3, 1]])).tolist()
    [[3, 1, 0], [0, 2, 0], [3, 1, 1]]

  Args:
    codes: (items, levels) integers.
  """
  _, group = np.unique(codes, axis=0, return_inverse=True)
  group = group.reshape(-1)
  order = np.argsort(group, kind="stable")
  begins = np.searchsorted(group[order], group[order])
  number = np.empty(len(codes), np.int32)
  number[order] = np.arange(len(codes)) - begins
  return np.concatenate([codes, number[:, None]], axis=1).astype(np.int32)


def tokens_of(ids: np.ndarray, count: int) -> np.ndarray:
  """Returns ids as tokens: code c of level l is 1 + count l + c.

  Args:
    ids: (..., levels) integers, below `count` except in the last level.
    count: number of codes of each level.
  """
  return (1 + ids + count * np.arange(ids.shape[-1])).astype(np.int32)


def word_vectors(texts: Sequence[str], width: int) -> np.ndarray:
  """Returns vectors (items, width) float32 of texts, by their rare words.

  They are the first singular vectors of the word matrix, weighted by inverse
  document frequency; they replace the vectors of a language model here.

  Args:
    texts: text of each item.
    width: width of the vectors, below the number of items.
  """
  words = item_texts.tokens(texts)[1:]
  item, place = np.nonzero(words)
  shape = len(words), item_texts.BUCKETS
  has = sparse.csr_array(
    (np.ones(len(item)), (item, words[item, place])), shape
  )
  has.data[:] = 1
  rarity = np.log(len(words) / np.maximum(has.sum(axis=0), 1))
  weighted = has * rarity[None]
  start = np.ones(min(shape))
  left, scale, _ = linalg.svds(sparse.csr_array(weighted), width, v0=start)
  vectors = left * scale
  return (vectors / vectors.std()).astype(np.float32)
