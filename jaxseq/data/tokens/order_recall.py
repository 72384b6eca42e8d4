"""Order recall: which of two segments came first in the excerpt?

EXCERPT SEP FIRST SEP SECOND, and the answer at the last element: 0 if the
segment that is shown first came first in the excerpt, 1 if it came second. The
excerpt has random tokens, or the words of a text, where it and the segments
begin with sentences. The segments do not overlap, and the distance of their
starts is in one of four bins; exactly half of the answers of a batch are 0.
This is the SORT of arXiv 2410.08133 and its code, which drops some questions
after it has balanced the answers, and so is not exact.

It measures what a state remembers: with `questions` above one, so many
consecutive rows are about one excerpt, which is read once, and copies of its
state are queried. An answer is one bit, a weak signal: with `shortest` many
excerpts are shorter, down to two segments alone.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import text as texts
from jaxseq.data.tokens import sampling

_ENDS = frozenset(".?!;")
_TITLES = ("mr.", "mrs.", "dr.")
# Share of a text for test excerpts: its last part.
_TEST = 0.1


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of order recall.

  Attributes:
    length: elements of the excerpt.
    segment: elements of a segment.
    vocab_size: number of tokens, the separator V - 1 included. For a text they
      are its most frequent words, and 0 is any other word.
    questions: number of consecutive rows about the same excerpt.
    begins: whether a separator precedes the excerpt, from which causal
      attention can compute positions in it.
    shortest: elements of the shortest excerpt; separators before it fill its
      place. Logarithms of lengths are uniform, and in excerpts too short for
      bins segments are anywhere. 0 if all have `length`, as those of a text do.
    distinct: whether no token occurs twice in an excerpt, so that no segment
      does.
    bin: 0 .. 3, bin of the distances of all pairs, the nearest first; None for
      any.
    text: "" for random tokens, "kjv" for the King James Bible, or the path of a
      text file.
    part: part of the text: "train", its first nine tenths, or "test".
  """

  length: int = 64
  segment: int = 4
  vocab_size: int = 64
  questions: int = 1
  begins: bool = False
  shortest: int = 0
  distinct: bool = False
  bin: int | None = None
  text: str = ""
  part: Literal["train", "test"] = "train"

  num_classes = 2
  scored = 1

  def __post_init__(self):
    validate.literals(self)
    validate.at_least(self, segment=1, vocab_size=3, questions=1)
    validate.at_least(self, length=_least(self.segment))
    if self.shortest:
      least = 2 * self.segment
      validate.integer("shortest", self.shortest, least, self.length)
    for name in ("shortest", "distinct"):
      if self.text and getattr(self, name):
        raise validate.error(name, getattr(self, name), "none with a text")
    if self.distinct and self.length >= self.vocab_size:
      expected = f"less than {self.vocab_size}, the tokens, with distinct"
      raise validate.error("length", self.length, expected)
    if self.bin is not None:
      validate.integer("bin", self.bin, 0, 3)

  @property
  def time(self) -> int:
    """Length of a sequence."""
    return self.before + 2 * self.segment + 2

  @property
  def before(self) -> int:
    """Number of elements before the question."""
    return self.begins + self.length

  @property
  def shared(self) -> tuple[int, int]:
    """Number of consecutive rows with the same start, and its elements."""
    return self.questions, self.before


def bins(length: int | jax.Array, segment: int) -> tuple[Any, ...]:
  """Returns the five bounds of the four bins of distances.

  A pair is in bin b if bounds[b] < distance <= bounds[b + 1].

  Args:
    length: elements of an excerpt.
    segment: elements of a segment.
  """
  return segment, length // 4, length // 3, length // 2, length * 4 // 5


def _least(segment):
  """The shortest length for which each bin has a distance."""
  return max(12, 4 * (segment + 1))


def ends_sentence(word: str) -> bool:
  """Returns whether a sentence ends with a word: if it has . ? ! or ;."""
  return not _ENDS.isdisjoint(word) and word.lower() not in _TITLES


def excerpt_starts(
  words: Sequence[str], length: int, segment: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the starts of sentences and of excerpts.

  Args:
    words: words of a text.
    length: elements of an excerpt.
    segment: elements of a segment.

  Returns:
    (words,) bool, True where a sentence begins; and (n,) places of starts whose
    excerpt has a pair in each of the bins.
  """
  begins = np.array([False, *map(ends_sentence, words)])[:-1]
  begins[:1] = True
  starts = np.flatnonzero(begins)
  enough = starts + length <= len(words)
  bounds = bins(length, segment)
  for low, high in zip(bounds, bounds[1:]):
    # The nearest partner of each start in this bin, and its end: an excerpt has
    # a pair if one that begins in it ends in it.
    near = np.searchsorted(starts, starts + low, side="right")
    partner = np.append(starts, len(words) + length)[near]
    end = np.where(partner - starts <= high, partner + segment, np.inf)
    first_end = np.minimum.accumulate(end[::-1])[::-1]
    enough &= first_end <= starts + length
  return begins, starts[enough]


def draw_pair(
  key: jax.Array,
  begins: jax.Array,
  which: jax.Array,
  segment: int,
  size: jax.Array | int,
) -> jax.Array:
  """Draws the starts of two segments of an excerpt, the earlier first.

  Args:
    key: random key.
    begins: (length,) bool, True where a segment may begin; the bin has a pair.
    which: () integer, the bin.
    segment: elements of a segment.
    size: elements of the excerpt, the first ones; if it is too short for bins
      any pair that does not overlap is drawn.

  Returns:
    (2,) int32; a uniform start among those with a partner in the bin, and a
    uniform one of its partners.
  """
  place = jnp.arange(len(begins))
  fits = begins & (place + segment <= size)
  distance = place - place[:, None]
  bounds = jnp.asarray(bins(size, segment))
  short = size < _least(segment)
  low = jnp.where(short, segment - 1, bounds[which])
  high = jnp.where(short, size, bounds[which + 1])
  near = (distance > low) & (distance <= high)
  pairs = fits & fits[:, None] & near
  noise = jax.random.uniform(key, (2, len(begins)))
  first = jnp.argmax(jnp.where(pairs.any(axis=1), noise[0], -1))
  second = jnp.argmax(jnp.where(pairs[first], noise[1], -1))
  return jnp.stack([first, second])


@functools.cache
def _words(text, vocab_size):
  """The words of a text, and their tokens."""
  if text == "kjv":
    content = texts.kjv_bytes().decode()
    lines = [line.split(maxsplit=1)[1] for line in content.splitlines()]
    words = " ".join(lines).split()
  else:
    path = datasets.find_file(text, "give the path of a text file, or 'kjv'")
    words = limits.read_text(path).split()
  kinds, which, counts = np.unique(
    words, return_inverse=True, return_counts=True
  )
  token = np.zeros(len(kinds), np.int32)
  frequent = np.argsort(-counts, kind="stable")[: vocab_size - 2]
  token[frequent] = 1 + np.arange(len(frequent))
  return words, token[which]


@functools.cache
def _excerpts(text, vocab_size, length, segment, part):
  """Tokens of a part of a text, and starts of sentences and of excerpts."""
  words, ids = _words(text, vocab_size)
  cut = round((1 - _TEST) * len(words))
  where = slice(cut) if part == "train" else slice(cut, None)
  begins, starts = excerpt_starts(words[where], length, segment)
  if not len(starts):
    expected = "shorter: no excerpt of the text has a pair in each bin"
    raise validate.error("length", length, expected)
  return ids[where], begins, starts


def _draw_excerpt(key, config):
  """An excerpt, the allowed starts of segments, and its number of elements."""
  length = config.length
  if config.text:
    options = config.vocab_size, length, config.segment, config.part
    ids, begins, starts = _excerpts(config.text, *options)
    at = jnp.asarray(starts)[sampling.integers(key, (), 0, len(starts))]
    excerpt, begins = (
      lax.dynamic_slice(jnp.asarray(each), (at,), (length,))
      for each in (ids, begins)
    )
    return excerpt, begins, jnp.int32(length)
  key_tokens, key_size = jax.random.split(key)
  if config.distinct:
    drawn = jax.random.permutation(key_tokens, config.vocab_size - 1)[:length]
  else:
    drawn = sampling.integers(key_tokens, (length,), 0, config.vocab_size - 1)
  size = jnp.int32(length)
  if config.shortest:
    share = jax.random.uniform(key_size)
    growth = ((length + 1) / config.shortest) ** share
    size = jnp.minimum(config.shortest * growth, length).astype(jnp.int32)
  inside = jnp.arange(length) < size
  return jnp.where(inside, drawn, config.vocab_size - 1), inside, size


def _question(key, config, excerpt, begins, size, answer):
  """Builds the sequence of an excerpt and two segments with this answer."""
  key_bin, key_pair = jax.random.split(key)
  which = config.bin
  if which is None:
    which = sampling.integers(key_bin, (), 0, 4)
  pair = draw_pair(key_pair, begins, jnp.asarray(which), config.segment, size)
  shown = jnp.where(answer == 0, pair, pair[::-1])
  first, second = (
    lax.dynamic_slice(excerpt, (start,), (config.segment,)) for start in shown
  )
  mark = jnp.array([config.vocab_size - 1])
  front = mark[: int(config.begins)]
  inputs = jnp.concatenate([front, excerpt, mark, first, mark, second])
  last = jnp.arange(config.time) == config.time - 1
  return sampling.TokenBatch(inputs, jnp.where(last, answer, 0), last)


def sample(key: jax.Array, config: Config) -> sampling.TokenBatch:
  """Samples one question about one excerpt."""
  key_excerpt, key_question, key_answer = jax.random.split(key, 3)
  drawn = _draw_excerpt(key_excerpt, config)
  answer = sampling.integers(key_answer, (), 0, 2)
  return _question(key_question, config, *drawn, answer)


class OrderRecall(sampling.Task):
  """Order recall; a batch is balanced between both answers."""

  __slots__ = ()

  def sample(
    self, key: jax.Array, config: Config, batch_size: int
  ) -> sampling.TokenBatch:
    """Samples a batch, as `sampling.Task.sample` does.

    Each `questions` consecutive rows are about the same excerpt. If the number
    of rows is odd, one more has the answer 0.
    """
    rows = config.questions
    key_excerpt, key_question, key_answer = jax.random.split(key, 3)
    excerpts = jax.vmap(lambda key: _draw_excerpt(key, config))(
      jax.random.split(key_excerpt, -(-batch_size // rows))
    )
    excerpts = jax.tree.map(
      lambda x: jnp.repeat(x, rows, axis=0)[:batch_size], excerpts
    )
    answers = jnp.arange(batch_size, dtype=jnp.int32) % 2
    return jax.vmap(lambda *each: _question(each[0], config, *each[1:]))(
      jax.random.split(key_question, batch_size),
      *excerpts,
      jax.random.permutation(key_answer, answers),
    )


ORDER_RECALL = OrderRecall(Config, sample)
