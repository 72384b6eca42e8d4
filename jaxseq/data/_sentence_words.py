"""Words of sentences: how they are split, counted and chosen as tokens."""

import collections
from collections.abc import Iterable
import re

from jaxseq import _validate

# Words with their hyphens and apostrophes, numbers, and signs one by one.
_WORD = re.compile(
  r"<mask>|\w+(?:['\u2019-]\w+|(?<=[0-9])[.,][0-9]\w*)*|[^\w\s]"
)


def split(sentence: str) -> list[str]:
  """Returns the words of a sentence in small letters, with signs as words.

  "The cat's 1.5 mice, and <mask>" has the words "the", "cat's", "1.5", "mice",
  ",", "and" and "<mask>".
  """
  return _WORD.findall(sentence.lower())


def count(sentences: Iterable[str]) -> collections.Counter[str]:
  """Returns how often each word comes, but for masks."""
  counts: collections.Counter[str] = collections.Counter()
  for sentence in sentences:
    counts.update(split(sentence))
  del counts["<mask>"]
  return counts


def vocabulary(sentences: Iterable[str], least: int) -> set[str]:
  """Returns the words that come so often.

  Raises:
    ValueError: if there is no such word.
  """
  _validate.integer("words", least, 1)
  known = {word for word, number in count(sentences).items() if number >= least}
  if not known:
    expected = f"one that comes {least} times or more: lower `words`"
    raise _validate.error("words", "no word", expected)
  return known
