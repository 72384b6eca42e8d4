"""Bounds on the memory and time that a tokenizer file may need.

Tokenizers are run by another library, which aborts the interpreter if memory is
exhausted. Normalizers and decoders may expand a character to many, in several
steps, a regular expression may backtrack without end, and a table may claim a
larger size than it has.
"""

import base64
import binascii
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import functools
import json
import struct
from typing import Any

from jaxseq import _json
from jaxseq import limits
from jaxseq import validate

# Bytes that any text may grow to, and beyond them the growth per byte: the
# library needs some 30 bytes of memory for each.
_FREE = 2**22
_RATIO = 8
# Characters of the chunks in which texts are measured.
_PIECE = 2**14
# Fields of sequences that list their parts.
_LISTS = ("normalizers", "pretokenizers", "decoders")
# Most bytes that a part writes per byte.
_FACTORS = {
  "BertNormalizer": 12,
  "ByteLevel": 3,
  "Lowercase": 2,
  "Metaspace": 6,
  "NFC": 3,
  "NFD": 4,
  "NFKC": 12,
  "NFKD": 12,
  "Nmt": 3,
}
# Most added tokens: before its release 0.23 the library takes quadratic time,
# here less than a minute.
_ADDED = 80_000
# Most characters of a word that a model looks up in parts: the time grows with
# a power of them. Published models have 100 and 16.
_WORD = 1024
# A repetition of at least so many copies counts as endless.
_MANY = 16


def checked(content: str, name: str, vocab_size: int | None = None) -> str:
  """Returns a tokenizer's bounded JSON, which neither pads nor cuts texts.

  Args:
    content: JSON of the package tokenizers.
    name: its name in messages.
    vocab_size: tokens of the model, a bound of the tokenizer's.

  Raises:
    ValueError: if it is not a tokenizer, or exceeds a bound.
  """
  try:
    described = _json.loads(content)
  except ValueError as error:
    raise ValueError(f"{name} is no tokenizer: {error}.") from error
  if not isinstance(described, dict):
    raise ValueError(f"{name} is no tokenizer: it holds no object.")
  described |= {"truncation": None, "padding": None}
  _check_vocabulary(described, name, vocab_size)
  for field in ("pre_tokenizer", "decoder"):
    factor = 1
    for part in parts(described.get(field)):
      factor *= _factor(part)
    if factor > limits.RATIO:
      raise validate.error(
        f"{name}: {field}",
        f"{factor} bytes for one",
        f"at most {limits.RATIO}",
      )
  for field in ("normalizer", "pre_tokenizer", "decoder"):
    for part in parts(described.get(field)):
      if part.get("type") == "Precompiled":
        _check_table(part.get("precompiled_charsmap"), f"{name}: {field}")
      pattern = part.get("pattern")
      pattern = pattern.get("Regex") if isinstance(pattern, dict) else None
      if isinstance(pattern, str) and repeats_repetitions(pattern):
        raise validate.error(
          f"{name}: {field}",
          f"the pattern {pattern[:80]!r}",
          "none in which what repeats is repeated",
        )
  return json.dumps(described)


def _check_vocabulary(described, name, vocab_size):
  """Raises if a token's number is too large, or there are too many tokens."""
  model, added = described.get("model"), described.get("added_tokens") or []
  model = model if isinstance(model, dict) else {}
  vocab = model.get("vocab")
  words = [x.get("content") for x in added if isinstance(x, dict)]
  if len(words) > _ADDED:
    expected = f"at most {_ADDED}"
    raise validate.error(f"{name}: added_tokens", len(words), expected)
  ids = [x.get("id") for x in added if isinstance(x, dict)]
  if isinstance(vocab, dict):
    ids += vocab.values()
    words += vocab
  elif isinstance(vocab, list):
    pieces = [str(x[0]) for x in vocab if isinstance(x, list) and x]
    words += pieces
    longest = max(map(len, pieces), default=0)
    _check_most(f"{name}: characters of a token", longest, _WORD)
  longest = model.get("max_input_chars_per_word", 0)
  _check_most(f"{name}: max_input_chars_per_word", longest, _WORD)
  ids += _integers(described.get("post_processor"))
  for number in ids:
    _check_most(f"{name}: the number of a token", number, limits.COUNT - 1)
  count = len({word for word in words if isinstance(word, str)})
  if vocab_size is not None and count > vocab_size:
    expected = f"at most {vocab_size}, as the model has"
    raise validate.error(f"{name}: tokens", count, expected)


def _integers(value):
  """Yields the integers in a value of JSON."""
  if isinstance(value, dict | list):
    for each in value.values() if isinstance(value, dict) else value:
      yield from _integers(each)
  elif isinstance(value, int):
    yield value


def _check_most(name, value, most):
  """Raises if a value is not an integer, or too large."""
  if not isinstance(value, int) or value > most:
    raise validate.error(name, value, f"an integer of at most {most}")


def check_text(
  tokenizer: Any, library: Callable[[], Any], words: str, name: str
) -> None:
  """Raises if a text grows beyond 4 MiB and 8 times its bytes."""
  if getattr(tokenizer, "normalizer", None) is None:
    return
  steps = _steps(bytes(tokenizer.normalizer.__getstate__()))
  size, most = len(words.encode()), 1
  for _, factor in steps:
    most *= factor
  if size * most <= _FREE:
    return
  normalizers = [
    (library().Tokenizer.from_str(text).normalizer, factor)
    for text, factor in steps
  ]
  total, bound = 0, max(_FREE, _RATIO * size)
  for start in range(0, len(words), _PIECE):
    piece = words[start : start + _PIECE]
    for normalizer, factor in normalizers:
      _check_size(name, len(piece.encode()) * factor, _FREE)
      piece = normalizer.normalize_str(piece)
    total += len(piece.encode())
    _check_size(name, total, bound)


def _check_size(name, size, most):
  """Raises if a text has too many bytes."""
  if size > most:
    raise validate.error(
      f"{name}: text after the tokenizer's normalizer",
      f"{size} bytes",
      f"at most {most}",
    )


@functools.lru_cache(maxsize=8)
def _steps(state: bytes) -> tuple[tuple[str, int], ...]:
  """A tokenizer's JSON for each step of a normalizer, and the step's factor."""
  empty = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "BPE", "vocab": {}, "merges": []},
  }
  return tuple(
    (json.dumps({**empty, "normalizer": part}), _factor(part))
    for part in parts(json.loads(state))
  )


def parts(part: Any) -> Iterator[Mapping[str, Any]]:
  """Yields the parts of a normalizer, pre-tokenizer or decoder, in order."""
  if not isinstance(part, dict):
    return
  inner = next((part[name] for name in _LISTS if name in part), None)
  if isinstance(inner, list):
    for each in inner:
      yield from parts(each)
  else:
    yield part


def _factor(part):
  """Most bytes that a part writes per byte."""
  kind = part.get("type")
  if kind == "Replace":
    pattern, content = (
      part.get("pattern"),
      len(str(part.get("content")).encode()),
    )
    plain = pattern.get("String") if isinstance(pattern, dict) else None
    if isinstance(plain, str) and plain:
      return max(1, -(-content // len(plain.encode())))
    return 1 + content
  if kind == "Prepend":
    return 1 + len(str(part.get("prepend")).encode())
  if kind == "Precompiled":
    return _longest_word(part.get("precompiled_charsmap"))
  return _FACTORS.get(str(kind), 1)


def _check_table(encoded, name):
  """Raises if a SentencePiece table claims more bytes than it has."""
  try:
    table = base64.b64decode(encoded or "")
    (size,) = struct.unpack_from("<I", table)
  except (binascii.Error, struct.error, TypeError, ValueError):
    return  # The library rejects it.
  if size > len(table) - 4:
    got = f"a table of {len(table) - 4} bytes that says it has {size}"
    raise ValueError(
      f"{name}: got {got}, expected a precompiled_charsmap that is whole."
    )


def _longest_word(encoded):
  """The length of the longest replacement in a SentencePiece table."""
  try:
    table = base64.b64decode(encoded or "")
    (size,) = struct.unpack_from("<I", table)
  except (binascii.Error, struct.error, TypeError, ValueError):
    return 1
  return max(1, *map(len, table[4 + size :].split(b"\0")))


def repeats_repetitions(pattern: str) -> bool:
  """True if a group that contains a repetition is repeated, as `(a+)+$`."""
  inside = [False]
  i, ended = 0, False
  while i < len(pattern):
    character = pattern[i]
    if character == "(":
      inside.append(False)
      ended, i = False, i + 1
      continue
    if character == ")" and len(inside) > 1:
      ended = inside.pop()
      inside[-1] |= ended
      i += 1
    elif character == "[":
      ended, i = False, _behind_class(pattern, i)
    elif character == "\\":
      ended, i = False, _behind_escape(pattern, i)
    else:
      ended, i = False, i + 1
    endless, i = _repetition(pattern, i)
    if endless and ended:
      return True
    inside[-1] |= endless
  return False


def _repetition(pattern, i):
  """Returns whether a repetition is endless, and the place after it."""
  endless = False
  while i < len(pattern) and pattern[i] in "*+?{":
    if pattern[i] == "{":
      end = pattern.find("}", i)
      low, comma, high = pattern[i + 1 : max(end, i + 1)].partition(",")
      if end < 0 or not (low + high).isdigit():
        break
      endless |= (comma and not high) or int(high or low) >= _MANY
      i = end + 1
    else:
      endless |= pattern[i] in "*+"
      i += 1
  return bool(endless), i


def _behind_class(pattern, i):
  """The place after a character class, which may contain others."""
  depth = 0
  while i < len(pattern):
    if pattern[i] == "\\":
      i += 1
    elif pattern[i] == "[":
      depth += 1
    elif pattern[i] == "]":
      depth -= 1
      if not depth:
        return i + 1
    i += 1
  return i


def _behind_escape(pattern, i):
  r"""The place after an escape, such as \s or \p{L}."""
  if pattern[i + 1 : i + 3] in ("p{", "P{", "x{"):
    end = pattern.find("}", i)
    return len(pattern) if end < 0 else end + 1
  return i + 2
