"""Histories as sentences of keys and values: the encoder of Recformer.

    texts = [{"title": "Heat", "genres": "Crime Drama"}, ...]
    flat = item_sentences.flatten(histories, texts, options)
    encoder = item_sentences.Encoder(options)
    pooled = encoder.apply(variables, *flat)[:, 0]

An item is the words of its attributes, keys and values. A history is a token
for its beginning and the words of its items, the newest first; all words see
those in a window around them and the first token, which sees all. What becomes
of that token stands for the history, and for an item, of which it is a sentence
alone; scores are their cosines, divided by a temperature.

Source: Li et al., arXiv:2305.13731, and AaronHeee/RecFormer, with the
Longformer of transformers: layers with their norms behind.
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

from jaxseq import _validate
from jaxseq.nn import dense
from jaxseq.nn import masks
from jaxseq.tasks import losses
from jaxseq.tasks import masking
from jaxseq.tasks.items import item_texts

BEGIN, PAD, MASK = range(3)
# Types of tokens, beside that of the beginning, 0.
KEY, VALUE, NONE = 1, 2, 3


@dataclasses.dataclass(frozen=True)
class Options:
  """Options of sentences and of their encoder.

  Attributes:
    words: classes into which words fall by a hash, with three special tokens.
    d_model: width.
    num_layers: number of layers.
    heads: of attention, a divisor of the width.
    hidden: width of the feed-forward layers.
    window: tokens around a token that it sees, half of them on either side.
    length: tokens of a sentence at most.
    items: of a history that are read at most, the newest ones.
    attribute: words of a value that are read at most, the first ones.
    temperature: that cosines are divided by.
    epsilon: of the norms.
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
    _validate.at_least(
      self, words=4, d_model=1, num_layers=0, heads=1, hidden=1, window=2
    )
    _validate.at_least(self, length=2, items=1, attribute=1)
    _validate.fields(self, above_zero=("temperature", "epsilon"))
    for name, number in (("d_model", self.heads), ("window", 2)):
      if getattr(self, name) % number:
        expected = f"a multiple of {number}"
        raise _validate.error(name, getattr(self, name), expected)


class Sentences(NamedTuple):
  """Sentences, padded at their ends.

  Attributes:
    tokens: (n, time) int32.
    types: (n, time) int32: 0 at the beginning, `KEY`, `VALUE`, or `NONE` behind
      the end.
    items: (n, time) int32, of which item a word is, from 1 on: 0 at the
      beginning. Behind the end it is the number of the last one that there may
      be, as released.
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
  """Returns histories as sentences; of items alone, one is `[[i], ...]`.

  Args:
    histories: of each user the places of items among the texts, by time.
    texts: of each item the values of its attributes, by their keys.
    options: of the sentences.
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
  """Yields the tokens of an item and their types."""
  for key, value in text.items():
    every = (key, KEY, None), (value, VALUE, options.attribute)
    for part, kind, most in every:
      for number in item_texts.classes(part, options.words - 3, most):
        yield 3 + number, kind


class Attention(linen.Module):
  """Attention to a window on both sides, and to the first token.

  That one sees all, by projections of its own.

  Attributes:
    heads: a divisor of the width.
    window: see `Options`.
  """

  heads: int
  window: int

  @linen.compact
  def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
    """Maps (n, time, d) to as much; rows have `lengths` (n,) tokens."""
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
  """Reads (n, time, heads, d) of a window and the first token, in blocks."""
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
  # The first token is seen by all, once.
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
  """Vectors of the words of sentences; the first stands for a sentence.

  Attributes:
    options: of it.
  """

  options: Options

  def setup(self) -> None:
    """Makes the layers."""
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

    Those behind the end say nothing.
    """
    real = masks.inside(tokens.shape[1], lengths)
    # Places are counted from 2 on; 1 is that of what is none.
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
    """Returns logits (n, time, words) of masked language, of sentences."""
    return self.guess(self(*sentences), self.words)


class Guess(linen.Module):
  """The head of masked language, by the vectors that words are read as.

  Attributes:
    epsilon: of the norm.
  """

  epsilon: float

  @linen.compact
  def __call__(self, x: jax.Array, table: jax.Array) -> jax.Array:
    """Maps (..., d) to logits (..., words), by a table (words, d)."""
    x = dense.Dense(x.shape[-1], name="dense")(x)
    x = jax.nn.gelu(x, approximate=False)
    x = linen.LayerNorm(self.epsilon, name="norm")(x)
    bias = self.param("bias", linen.initializers.zeros, table.shape[:1])
    return x @ table.T + bias


def scores(
  histories: jax.Array, items: jax.Array, temperature: float
) -> jax.Array:
  """Returns cosines (n, items) of vectors (n, d) and (items, d), divided."""
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
  """Returns the objective that Recformer begins with, and its two terms.

  Every history is told the sentence of its next item from those of the batch,
  and words that are hidden in it are asked for.

  Args:
    encoder: of both.
    variables: of it.
    histories: n of them.
    items: n of them, that which came next.
    key: of what is hidden, 15 % of the words.
    weight: of the second term.
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
