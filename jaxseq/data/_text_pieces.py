"""Pieces of long texts, whose tokens together are those of the whole.

The package tokenizers takes some 150 bytes of memory for each byte of a text.
A text is cut in front of a space between two letters, where no token of the
tokenizers that are known here reaches across; others get the text whole.
"""

from collections.abc import Iterator
import json
import re
from typing import Any

from jaxseq.data import _tokenizer_bounds

# Characters of a piece, at least.
_SIZE = 2**20
_CUT = re.compile("[A-Za-z](?= [A-Za-z])")
# Where an added token, with what it asks for around it, may hold a cut.
_ACROSS = re.compile(r"\w\s")
# Steps that change a few characters at a time, and no space with the letter
# before it.
_NORMALIZERS = frozenset(
  (
    *("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents"),
    *("BertNormalizer", "ByteLevel", "Precompiled"),
  )
)
# Those that divide a text only within the parts that they are given.
_DIVIDERS = frozenset(("Digits", "Punctuation"))
# Those that always divide a text where it is cut.
_SPLITTERS = frozenset(("BertPreTokenizer", "Whitespace", "WhitespaceSplit"))
_ENDS = "'s|'t|'re|'ve|'m|'ll|'d"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_OPENING = r"[^\r\n\p{L}\p{N}]?"
# The regular expressions of GPT-2, GPT-4, Qwen, Llama 3 and GPT-4o: a space is
# the first character of a match or behind other blanks.
_PATTERNS = frozenset(
  (
    _ENDS + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    *(
      rf"(?i:{_ENDS})|{_OPENING}\p{{L}}+|\p{{N}}{count}"
      r"| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _BLANKS
      for count in ("", "{1,3}")
    ),
    "|".join(
      (
        rf"{_OPENING}{_LETTERS[0]}*{_LETTERS[1]}+(?i:{_ENDS})?",
        rf"{_OPENING}{_LETTERS[0]}+{_LETTERS[1]}*(?i:{_ENDS})?",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _BLANKS,
      )
    ),
  )
)


def of(tokenizer: Any, words: str) -> Iterator[str]:
  """Yields the pieces of a text, which is one piece unless it is long."""
  start = 0
  if len(words) > 2 * _SIZE and _may_be_cut(tokenizer):
    while len(words) - start > 2 * _SIZE:
      match = _CUT.search(words, start + _SIZE)
      if match is None:
        break
      yield words[start : match.end()]
      start = match.end()
  yield words[start:] if start else words


def _may_be_cut(tokenizer):
  """Returns whether tokens of pieces are those of the whole text."""
  normalizers = _parts(tokenizer.normalizer)
  if any(part["type"] not in _NORMALIZERS for part in normalizers):
    return False
  for token in tokenizer.get_added_tokens_decoder().values():
    around = "a" * token.single_word, token.content, " " * token.rstrip
    if _ACROSS.search("".join(around)):
      return False
  for part in _parts(tokenizer.pre_tokenizer):
    if _splits(part):
      return True
    if part["type"] not in _DIVIDERS:
      return False
  return False


def _parts(step):
  """The parts of a normalizer or pre-tokenizer."""
  if step is None:
    return []
  return list(_tokenizer_bounds.parts(json.loads(step.__getstate__())))


def _splits(part):
  """Returns whether a pre-tokenizer divides a text at every cut."""
  kind = part["type"]
  if kind == "Metaspace":
    return part.get("split", True)
  if kind == "ByteLevel":
    return part.get("use_regex", True)
  if kind == "Split":
    kept = part["behavior"], part["invert"]
    known = part["pattern"].get("Regex") in _PATTERNS
    return known and kept in (("Isolated", False), ("Removed", True))
  return kind in _SPLITTERS
