"""Histories as sentences of keys and values: the encoder of Recformer.

    texts = [{"title": "Heat", "genres": "Crime Drama"}, ...]
    flat = item_sentences.flatten(histories, texts, options)
    encoder = item_sentences.Encoder(options)
    pooled = encoder.apply(variables, *flat)[:, 0]

An item is the words of its attributes, keys and values. A history is an initial
token and the words of its items, the newest first; each word attends to a
window around it and to the initial token, which attends to all words. The
output at that token represents the history, or an item if the sentence is of
one item; scores are the cosines of both, divided by a temperature.

Source: Li et al., arXiv:2305.13731, and AaronHeee/RecFormer, with the
Longformer of transformers: post-norm layers.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Literal
from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.nn import dense
from jaxseq.nn import masks
from jaxseq.tasks import losses
from jaxseq.tasks import masking
from jaxseq.tasks.recommendation import item_texts

BEGIN, PAD, MASK = range(3)
# Types of tokens; the type of the initial token is 0.
KEY, VALUE, NONE = 1, 2, 3


@dataclasses.dataclass(frozen=True)
class Options:
  """Options of sentences and of their encoder.

  Attributes:
    words: number of hash classes of words, including three special tokens.
    d_model: width.
    num_layers: number of layers.
    heads: number of attention heads, a divisor of the width.
    hidden: width of the feed-forward layers.
    window: tokens that a token attends to, half of them on either side.
    length: maximum number of tokens of a sentence.
    items: maximum number of a history's items that are read, the newest ones.
    attribute: maximum number of a value's words that are read, the first ones.
    temperature: divisor of the cosines.
    epsilon: epsilon of the layer norms.
  """

  words: int = 8192
  d_model: int = 64
  num_layers: int = 2
  heads: int = 2
  hidden: int = 256
  window: int = 64
  length: int = 1024
  items: int = 50
  attribute: int = 32
  temperature: float = 0.05
  epsilon: float = 1e-5

  def __post_init__(self):
    validate.at_least(
      self, words=4, d_model=1, num_layers=0, heads=1, hidden=1, window=2
    )
    validate.at_least(self, length=2, items=1, attribute=1)
    validate.fields(self, above_zero=("temperature", "epsilon"))
    for name, number in (("d_model", self.heads), ("window", 2)):
      if getattr(self, name) % number:
        expected = f"a multiple of {number}"
        raise validate.error(name, getattr(self, name), expected)


class Sentences(NamedTuple):
  """Sentences, padded at the end.

  Attributes:
    tokens: (n, time) int32.
    types: (n, time) int32: 0 for the initial token, `KEY`, `VALUE`, or `NONE`
      in the padding.
    items: (n, time) int32, number of the item in the history, from 1 on: 0 for
      the initial token. In the padding it is the maximum number, as in the
      release.
    lengths: (n,) int32.
  """

  tokens: np.ndarray
  types: np.ndarray
  items: np.ndarray
  lengths: np.ndarray


def flatten(
  histories: Sequence[Sequence[int]],
  texts: Sequence[Mapping[str, str]],
  options: Options = Options(),
) -> Sentences:
  """Converts histories to sentences; for single items use `[[i], ...]`.

  Args:
    histories: per user, indices of items in the texts, in order of time.
    texts: per item, the values of its attributes, by their keys.
    options: options of the sentences.
  """
  words = [list(_words(text, options)) for text in texts]
  rows = []
  for history in histories:
    row = [(BEGIN, 0, 0)]
    newest = reversed(history[-options.items :])
    for number, item in enumerate(newest, 1):
      row += [(token, kind, number) for token, kind in words[item]]
    rows.append(row[: options.length])
  lengths = np.array([len(row) for row in rows], np.int32)
  filled = np.empty((len(rows), max(lengths, default=1), 3), np.int32)
  filled[:] = PAD, NONE, options.items
  for place, row in zip(filled, rows):
    place[: len(row)] = row
  return Sentences(*np.moveaxis(filled, 2, 0), lengths)


def _words(text, options) -> Iterator[tuple[int, int]]:
  """Yields the tokens of an item with their types."""
  for key, value in text.items():
    every = (key, KEY, None), (value, VALUE, options.attribute)
    for part, kind, most in every:
      for number in item_texts.classes(part, options.words - 3, most):
        yield 3 + number, kind


class Attention(linen.Module):
  """Attention to a bidirectional window, and to the first token.

  The first token attends to all tokens, with separate projections.

  Attributes:
    heads: a divisor of the width.
    window: see `Options`.
  """

  heads: int
  window: int

  @linen.compact
  def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
    """Maps (n, time, d) to the same shape; rows have `lengths` (n,) tokens."""
    n, time, d = x.shape

    def heads(name, x):
      y = dense.Dense(d, name=name)(x)
      return y.reshape(n, -1, self.heads, d // self.heads)

    real = masks.inside(time, lengths)
    q, k, v = (heads(name, x) for name in ("query", "key", "value"))
    near = _near(q, k, v, real, self.window // 2)
    q = heads("query_global", x[:, :1])
    k, v = (heads(f"{name}_global", x) for name in ("key", "value"))
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(q.shape[-1])
    scores = jnp.where(real[:, None, None], scores, -jnp.inf)
    first = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), v)
    both = jnp.concatenate([first, near[:, 1:]], axis=1)
    return dense.Dense(d, name="out")(both.reshape(n, time, d))


def _near(q, k, v, real, side):
  """Windowed attention (n, time, heads, d) with the first token, in blocks."""
  n, time, *rest = q.shape
  blocks = -(-time // side)

  def cut(x, before, after):
    rows = [(0, 0), (before, blocks * side - time + after)]
    x = jnp.pad(x, rows + [(0, 0)] * (x.ndim - 2))
    return x.reshape(n, -1, side, *x.shape[2:])

  def around(x):
    x = cut(x, side, side)
    parts = [x[:, i : i + blocks] for i in range(3)]
    return jnp.concatenate(parts, axis=2)

  queries, keys, values = cut(q, 0, 0), around(k), around(v)
  index = jnp.arange(blocks * side).reshape(blocks, side)
  other = (jnp.arange(blocks)[:, None] - 1) * side + jnp.arange(3 * side)
  seen = jnp.abs(index[:, :, None] - other[:, None]) <= side
  # The first token is visible to all, counted once.
  seen = seen & (other != 0)[:, None] & around(real)[:, :, None]
  scale = 1 / math.sqrt(rest[-1])
  scores = scale * jnp.einsum("nbqhd,nbkhd->nbhqk", queries, keys)
  scores = jnp.where(seen[:, :, None], scores, -jnp.inf)
  first = scale * jnp.einsum("nbqhd,nhd->nbhq", queries, k[:, 0])
  scores = jnp.concatenate([scores, first[..., None]], axis=-1)
  weights = jax.nn.softmax(scores, axis=-1)
  read = jnp.einsum("nbhqk,nbkhd->nbqhd", weights[..., :-1], values)
  shared = jnp.moveaxis(weights[..., -1:], 2, 3) * v[:, None, None, 0]
  return (read + shared).reshape(n, blocks * side, *rest)[:, :time]


class Encoder(linen.Module):
  """An encoder of sentences; the first vector represents the sentence.

  Attributes:
    options: options of the encoder.
  """

  options: Options

  def setup(self) -> None:
    """Creates the layers."""
    options = self.options
    d = options.d_model
    normal = linen.initializers.normal(0.02)
    for name, count in (
      ("words", options.words),
      ("places", options.length + 2),
      ("kinds", 4),
      ("numbers", options.items + 1),
    ):
      setattr(self, name, self.param(name, normal, (count, d)))
    norm = linen.LayerNorm
    self.norm = norm(options.epsilon)
    self.attention = [
      Attention(options.heads, options.window)
      for _ in range(options.num_layers)
    ]
    self.attended = [norm(options.epsilon) for _ in self.attention]
    self.wide = [dense.Dense(options.hidden) for _ in self.attention]
    self.narrow = [dense.Dense(d) for _ in self.attention]
    self.fed = [norm(options.epsilon) for _ in self.attention]
    self.guess = Guess(options.epsilon)

  def __call__(
    self,
    tokens: jax.Array,
    types: jax.Array,
    items: jax.Array,
    lengths: jax.Array,
  ) -> jax.Array:
    """Returns vectors (n, time, d_model) of the words of `Sentences`.

    Vectors in the padding are meaningless.
    """
    real = masks.inside(tokens.shape[1], lengths)
    # Positions are counted from 2 on; 1 is the padding.
    place = jnp.where(real, jnp.arange(tokens.shape[1]) + 2, 1)
    pairs = (
      *((self.words, tokens), (self.places, place)),
      *((self.kinds, types), (self.numbers, items)),
    )
    x = sum(jnp.take(table, index, axis=0) for table, index in pairs)
    x = self.norm(x)
    for i, attention in enumerate(self.attention):
      x = self.attended[i](x + attention(x, lengths))
      wide = jax.nn.gelu(self.wide[i](x), approximate=False)
      x = self.fed[i](x + self.narrow[i](wide))
    return x

  def hidden_words(self, *sentences: jax.Array) -> jax.Array:
    """Returns logits (n, time, words) of masked language modeling."""
    return self.guess(self(*sentences), self.words)


class Guess(linen.Module):
  """The head of masked language modeling, tied to the word embeddings.

  Attributes:
    epsilon: epsilon of the layer norm.
  """

  epsilon: float

  @linen.compact
  def __call__(self, x: jax.Array, table: jax.Array) -> jax.Array:
    """Maps (..., d) to logits (..., words), by the embeddings (words, d)."""
    x = dense.Dense(x.shape[-1], name="dense")(x)
    x = jax.nn.gelu(x, approximate=False)
    x = linen.LayerNorm(self.epsilon, name="norm")(x)
    bias = self.param("bias", linen.initializers.zeros, table.shape[:1])
    return x @ table.T + bias


def scores(
  histories: jax.Array, items: jax.Array, temperature: float
) -> jax.Array:
  """Returns cosines (n, items) of (n, d) and (items, d), over `temperature`."""
  both = histories @ items.T
  norms = [jnp.linalg.norm(x, axis=-1) for x in (histories, items)]
  norm = jnp.maximum(norms[0][:, None] * norms[1], 1e-8)
  return both / norm / temperature


def pretraining(
  encoder: Encoder,
  variables: Mapping[str, jax.Array],
  histories: Sentences,
  items: Sentences,
  key: jax.Array,
  weight: float = 0.1,
) -> tuple[jax.Array, dict[Literal["contrast", "masked"], jax.Array]]:
  """Returns Recformer's pretraining objective, and its two terms.

  Each history is classified among the next items of the batch, and its masked
  words are predicted.

  Args:
    encoder: encoder of histories and items.
    variables: variables of the encoder.
    histories: n sentences of histories.
    items: n sentences of the items after them.
    key: key of the masks, which hide 15 % of the words.
    weight: weight of the second term.
  """
  pooled = [encoder.apply(variables, *x)[:, 0] for x in (histories, items)]
  logits = scores(*pooled, encoder.options.temperature)
  contrast, _, _ = losses.cross_entropy(logits, jnp.arange(len(logits)))
  letters = jnp.arange(MASK + 1, encoder.options.words)
  allowed = (histories.types == KEY) | (histories.types == VALUE)
  masked = masking.mask(key, histories.tokens, allowed, MASK, letters)
  shown = histories._replace(tokens=masked.inputs)
  guesses = encoder.apply(variables, *shown, method="hidden_words")
  hidden, _, _ = losses.cross_entropy(guesses, histories.tokens, masked.scored)
  return contrast + weight * hidden, {"contrast": contrast, "masked": hidden}
