"""Items represented by the words of their texts.

    tokens = item_texts.tokens(["Heat Crime Drama", "Ran War Drama"])

A small network reads the words of each item; its output is the vector that the
item is read as and scored by. So an item without a single interaction has a
vector, and an item can be added to a trained model by its text alone. It is the
form of Recformer (Li et al., arXiv:2305.13731) and Lite-LLM4Rec (Wang et al.,
arXiv:2402.09543), with any mixer instead of a language model.
"""

from collections.abc import Sequence
import re
import zlib

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq.data import padding

# Number of hash classes of words: there is no vocabulary, and new texts may
# have new words. 0 is the padding.
BUCKETS = 8192
# Maximum number of words of a text that are read, the first ones.
LENGTH = 24


def tokens(texts: Sequence[str]) -> np.ndarray:
  """Returns the words (1 + n, time) int32 of texts, padded with 0.

    >>> tokens(["Ran", "ran!"])[1:].tolist()
    [[2681], [2681]]

  The first row is the padding item, which has no words. Case is ignored, and an
  item without a text has the word of an empty one.
  """
  rows = [classes(text, BUCKETS - 1, LENGTH) or [0] for text in texts]
  none = np.zeros(0, np.int32)
  numbers = [np.array(row, np.int32) + 1 for row in rows]
  return padding.pad_sequences([none, *numbers])[0]


def classes(text: str, count: int, length: int | None = None) -> list[int]:
  """Returns the hash classes, below `count`, of the words of a text.

  Only the first `length` words are read; an empty one would be of class 0.
  """
  words = re.findall(r"\w+", text.lower())[:length]
  return [zlib.crc32(word.encode()) % count for word in words]


class Encoder(linen.Module):
  """Vectors of items from their words.

  Attributes:
    mixer: name of the mixer.
    width: width of the vectors.
  """

  mixer: str
  width: int

  @linen.compact
  def __call__(self, tokens: jax.Array) -> jax.Array:
    """Returns vectors (items, width) of `tokens`, (items, time).

    Intermediate values are recomputed for gradients (remat), as every update
    reads all items.
    """
    stack = nn.StackConfig(
      self.mixer, d_model=self.width, num_layers=1, remat=True
    )
    network = nn.SequenceNetwork(
      nn.NetworkConfig(stack, pooling="mean"), self.width, BUCKETS
    )
    # A row without words has length 1, or its mean would be undefined.
    lengths = jnp.maximum(jnp.sum(tokens > 0, axis=-1), 1)
    vectors, _ = network(tokens, lengths=lengths)
    # Products of two vectors are of the order of 1.
    return vectors / jnp.sqrt(self.width)
