"""Words of sentences: splits, counts and selects them as tokens."""

import collections
from collections.abc import Iterable
import re

from jaxseq import validate

# Words with their hyphens and apostrophes, numbers, and single signs.
_WORD = re.compile(
  r"<mask>|\w+(?:['\u2019-]\w+|(?<=[0-9])[.,][0-9]\w*)*|[^\w\s]"
)


def split(sentence: str) -> list[str]:
  """Returns the lower-case words of a sentence, with signs as words.

  "The cat's 1.5 mice, and <mask>" has the words "the", "cat's", "1.5", "mice",
  ",", "and" and "<mask>".
  """
  return _WORD.findall(sentence.lower())


def count(sentences: Iterable[str]) -> collections.Counter[str]:
  """Returns the frequency of each word, without masks."""
  counts: collections.Counter[str] = collections.Counter()
  for sentence in sentences:
    counts.update(split(sentence))
  del counts["<mask>"]
  return counts


def vocabulary(sentences: Iterable[str], least: int) -> set[str]:
  """Returns the words that occur at least `least` times.

  Raises:
    ValueError: if there is no such word.
  """
  validate.integer("words", least, 1)
  known = {word for word, number in count(sentences).items() if number >= least}
  if not known:
    expected = f"one that comes {least} times or more: lower `words`"
    raise validate.error("words", "no word", expected)
  return known
