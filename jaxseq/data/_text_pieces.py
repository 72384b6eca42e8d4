"""Chunks of long texts that are tokenized one by one to the same tokens.

The package tokenizers takes some 150 bytes of memory for each byte of a text.
A text is cut before a space between two letters: no token of the known
tokenizers spans such a cut. Unknown tokenizers get the whole text.
"""

from collections.abc import Iterator
import json
import re
from typing import Any

from jaxseq.data import _tokenizer_bounds

# Least characters of a chunk.
_SIZE = 2**20
_CUT = re.compile("[A-Za-z](?= [A-Za-z])")
# Added tokens that match, with their required context, may span a cut.
_ACROSS = re.compile(r"\w\s")
# Normalizers that change a few characters at a time, and never a space together
# with the letter before it.
_NORMALIZERS = frozenset(
  (
    *("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents"),
    *("BertNormalizer", "ByteLevel", "Precompiled"),
  )
)
# Pre-tokenizers that only split the parts of the steps before.
_DIVIDERS = frozenset(("Digits", "Punctuation"))
# Pre-tokenizers that always split a text at a cut.
_SPLITTERS = frozenset(("BertPreTokenizer", "Whitespace", "WhitespaceSplit"))
_ENDS = "'s|'t|'re|'ve|'m|'ll|'d"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_OPENING = r"[^\r\n\p{L}\p{N}]?"
# The regular expressions of GPT-2, GPT-4, Qwen, Llama 3 and GPT-4o: a space is
# the first character of a match or comes after other blanks.
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
  """Yields the chunks of a text: one, unless the text is long."""
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
  """Returns whether the chunks have the tokens of the whole text."""
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
  """Returns whether a pre-tokenizer splits a text at every cut."""
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
