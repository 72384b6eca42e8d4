"""A network that reads a history as one sentence, and ranks items by cosine.

The network builds the sentences of `item_sentences.flatten` from the words of
each item. Items are scored by a matrix of the encodings of their own sentences,
which is not a parameter: training encodes all items again from time to time,
and keeps the matrix constant in between (Recformer, Li et al.,
arXiv:2305.13731). So an item without interactions is ranked like all others.
"""

from collections.abc import Mapping
from collections.abc import Sequence

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq.tasks.recommendation import item_sentences
from jaxseq.tasks.recommendation import network as item_network

# Number of items whose sentences are encoded at once.
_ITEMS = 512


def tables(
  texts: Sequence[Mapping[str, str]], options: item_sentences.Options
) -> dict[str, np.ndarray]:
  """Returns the words of items, and a matrix of zeros for their vectors.

  Args:
    texts: per item, the values of its attributes, by their keys.
    options: options of the sentences.

  Returns:
    "words" and "kinds" (1 + items, most) int32 and "counts" (1 + items,) int32,
    with no words in the first row, and "vectors" (1 + items, d_model), zeros.
  """
  alone = [[], *([i] for i in range(len(texts)))]
  flat = item_sentences.flatten(alone, texts, options)
  return {
    "words": flat.tokens[:, 1:],
    "kinds": flat.types[:, 1:],
    "counts": flat.lengths - 1,
    "vectors": np.zeros((len(alone), options.d_model), np.float32),
  }


class SentenceNetwork(linen.Module):
  """Scores items by cosines of a history's sentence with their sentences.

  Attributes:
    options: options of sentences and their encoder.
    num_items: number of items, without padding.
    repeats: see `recommendation_arms.Options`.
  """

  options: item_sentences.Options
  num_items: int
  repeats: bool = False

  gaps = False

  def setup(self) -> None:
    """Creates the encoder."""
    self.encoder = item_sentences.Encoder(self.options)
    rows = self.num_items + 1
    zeros = jnp.zeros, (rows, 1), jnp.int32
    self.words = self.variable(item_network.ITEMS, "words", *zeros)
    self.kinds = self.variable(item_network.ITEMS, "kinds", *zeros)
    self.counts = self.variable(
      item_network.ITEMS, "counts", jnp.zeros, (rows,), jnp.int32
    )
    self.matrix = self.variable(
      item_network.ITEMS, "vectors", jnp.zeros, (rows, self.options.d_model)
    )

  def __call__(
    self,
    items: jax.Array,
    lengths: jax.Array,
    last: bool = True,
    gaps: None = None,
  ) -> jax.Array:
    """Scores all items as the next one, by the current matrix.

    Args:
      items: (n, time) integers from 1 on, padded with 0.
      lengths: (n,) numbers of items, at least 1.
      last: True, see `ItemNetwork`.
      gaps: None, see `ItemNetwork`.

    Returns:
      Logits (n, num_items); the first is that of item 1.
    """
    del last, gaps
    pooled = self.encoder(*self.sentences(items, lengths))[:, 0]
    vectors = jnp.asarray(self.matrix.value)[1:]
    return item_sentences.scores(pooled, vectors, self.options.temperature)

  def sentences(
    self, items: jax.Array, lengths: jax.Array, most: int | None = None
  ) -> item_sentences.Sentences:
    """Returns the sentences of histories, the newest item first.

    Args:
      items: see `__call__`.
      lengths: see `__call__`.
      most: maximum number of items that are read; `options.items` if None.
    """
    options = self.options
    most = options.items if most is None else most
    words, kinds, counts = (
      jnp.asarray(x.value) for x in (self.words, self.kinds, self.counts)
    )
    place = lengths[:, None] - 1 - jnp.arange(most)
    newest = jnp.take_along_axis(items, jnp.maximum(place, 0), axis=1)
    newest = jnp.where(place >= 0, newest, 0)
    # Index after each item's last token; index 0 is the initial token.
    ends = 1 + jnp.cumsum(counts[newest], axis=1)
    at = jnp.arange(min(options.length, 1 + most * words.shape[1]))
    number = (at[:, None] >= ends[:, None]).sum(axis=-1)
    size = jnp.minimum(ends[:, -1], len(at))
    inside = (at > 0) & (at < size[:, None])
    which = jnp.minimum(number, most - 1)
    item = jnp.take_along_axis(newest, which, axis=1)
    begin = jnp.take_along_axis(ends - counts[newest], which, axis=1)
    word = item, jnp.clip(at - begin, 0, words.shape[1] - 1)
    begins = at == 0

    def filled(inside_value, beginning, behind):
      outside = jnp.where(begins, beginning, behind)
      return jnp.where(inside, inside_value, outside)

    return item_sentences.Sentences(
      filled(words[word], item_sentences.BEGIN, item_sentences.PAD),
      filled(kinds[word], 0, item_sentences.NONE),
      filled(number + 1, 0, options.items),
      size,
    )

  def alone(self, items: jax.Array) -> item_sentences.Sentences:
    """Returns the sentences of single items (n,)."""
    return self.sentences(items[:, None], jnp.ones_like(items), 1)

  def vectors(self, items: jax.Array) -> jax.Array:
    """Returns the vectors (n, d_model) of items (n,), from their sentences."""
    return self.encoder(*self.alone(items))[:, 0]

  def everything(self, items: jax.Array, lengths: jax.Array) -> jax.Array:
    """Returns logits of masked words; its init creates all variables."""
    return self.encoder.hidden_words(*self.sentences(items, lengths))

  @linen.nowrap
  def read(self, variables: Mapping) -> Mapping:
    """Returns the variables with a recomputed matrix of item vectors.

    Args:
      variables: variables of the network.
    """

    def one(item):
      return self.apply(variables, item[None], method="vectors")[0]

    vectors = lax.map(one, jnp.arange(self.num_items + 1), batch_size=_ITEMS)
    items = {**variables[item_network.ITEMS], "vectors": vectors}
    return {**variables, item_network.ITEMS: items}
