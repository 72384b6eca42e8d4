"""Texts as bytes, or as tokens of a tokenizer of the package tokenizers.

The package runs whatever a tokenizer's file specifies; this module bounds the
cost of untrusted files.
"""

import codecs
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import itertools
import json
import pathlib
import re
from typing import Any

from absl import logging
import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _text_pieces
from jaxseq.data import _tokenizer_bounds
from jaxseq.data import packages

# Input token at the start of a document.
START = 0
# Number of bytes to decode at a time.
_CHUNK = 2**20
# A byte token of SentencePiece.
_BYTE = re.compile("<0x([0-9A-F]{2})>")


def read_tokenizer(content: str, name: str = "tokenizer") -> Any:
  """Reads a tokenizer of the package tokenizers.

  Args:
    content: content of its JSON file.
    name: name of the tokenizer in messages.

  Returns:
    The tokenizer, without padding and truncation, whatever its file specifies.

  Raises:
    ValueError: if it is not a tokenizer, or costs too much.
    MissingData: if the package is not installed.
  """
  library = _library(name)
  content = _tokenizer_bounds.checked(content, name)
  with _one_sentence(f"{name} is no tokenizer"):
    return library.Tokenizer.from_str(content)


def _library(name="a tokenizer"):
  """Imports the package."""
  return packages.imported(
    "tokenizers", "jaxseq[tokenizers]", f"{name} is read by tokenizers"
  )


@contextlib.contextmanager
def _one_sentence(noun: str) -> Iterator[None]:
  """Converts any exception of the library to a ValueError."""
  try:
    yield
  except ValueError:
    raise
  except BaseException as error:
    # Panics of its Rust code are no subclass of Exception.
    panic = type(error).__name__ == "PanicException"
    if not panic and not isinstance(error, Exception):
      raise
    reason = " ".join(str(error).split())[:200]
    raise ValueError(f"{noun}: {reason or type(error).__name__}.") from None


def encode(content: bytes, tokenizer: Any | None, name: str) -> np.ndarray:
  """Encodes a text as bytes or as tokens.

  Args:
    content: content of the file.
    tokenizer: see `read_tokenizer`; bytes if None.
    name: name of the file, for messages.

  Returns:
    Bytes (n,) uint8, or tokens (n,) int32.

  Raises:
    ValueError: if there is a tokenizer and the content is not UTF-8, or the
      tokenizer fails.
  """
  if tokenizer is None:
    return np.frombuffer(content, np.uint8)
  try:
    words = content.decode("utf-8")
  except UnicodeDecodeError as error:
    line = content[: error.start].count(b"\n") + 1
    raise ValueError(
      f"{name}, line {line}: got the byte {content[error.start]:#04x}, "
      "expected UTF-8; without a tokenizer all bytes are read."
    ) from error
  found = [np.array(x, np.int32) for x in _pieces(tokenizer, words, name)]
  return np.concatenate(found)


def of_files(
  files: Sequence[pathlib.Path], tokenizer: Any | None
) -> Iterator[np.ndarray]:
  """Yields the bytes or tokens of files, see `encode`.

  After the last file it warns if bytes are not UTF-8.
  """
  wrong = []
  for file in files:
    content = limits.read_bytes(file)
    yield encode(content, tokenizer, str(file))
    byte = _not_utf8(content) if tokenizer is None else None
    if byte is not None:
      wrong.append((file, byte))
  if wrong:
    logging.warning(
      "%s: got the byte %#04x, which is not UTF-8 (%d of %d files have such"
      " bytes): they are read as they are, and no text in UTF-8 has them."
      " Convert texts first, as `iconv -f LATIN1 -t UTF-8` does.",
      *(*wrong[0], len(wrong), len(files)),
    )


def _not_utf8(content):
  """Returns the position of the first byte that is not UTF-8, or None."""
  decoder = codecs.getincrementaldecoder("utf-8")()
  try:
    for start in range(0, len(content), _CHUNK):
      decoder.decode(content[start : start + _CHUNK])
    decoder.decode(b"", True)
  except UnicodeDecodeError as error:
    return error.object[error.start]
  return None


def token_ids(
  tokenizer: Any, words: str, name: str = "text", special: bool = False
) -> list[int]:
  """Tokenizes a text.

  Args:
    tokenizer: tokenizer of the package tokenizers; bytes if None.
    words: the text.
    name: name of the text in messages.
    special: whether to add the tokenizer's special tokens around the text.

  Raises:
    ValueError: if the tokenizer fails, or would lengthen the text far too much.
  """
  if tokenizer is None:
    return list(words.encode())
  if special:
    return _encoding(tokenizer, words, name, special).ids
  return list(itertools.chain(*_pieces(tokenizer, words, name)))


def _pieces(tokenizer, words, name):
  """Yields the tokens of each chunk of a text."""
  for piece in _text_pieces.of(tokenizer, words):
    yield _encoding(tokenizer, piece, name, False).ids


def token_spans(
  tokenizer: Any, words: str, name: str = "text"
) -> tuple[list[int], list[tuple[int, int]]]:
  """Tokenizes a text, with the characters of each token.

  No special tokens are added. Tokens for bytes of the same character have the
  same characters.

  Args:
    tokenizer: tokenizer of the package tokenizers; bytes if None.
    words: the text.
    name: name of the text in messages.

  Returns:
    The tokens, and for each the pair of its first character and the one after
    its last.

  Raises:
    ValueError: as in `token_ids`.
  """
  if tokenizer is None:
    spans = [(i, i + 1) for i, x in enumerate(words) for _ in x.encode()]
    return list(words.encode()), spans
  encoding = _encoding(tokenizer, words, name, False)
  return encoding.ids, encoding.offsets


def _encoding(tokenizer, words, name, special):
  """Returns the library's encoding of a text."""
  _tokenizer_bounds.check_text(tokenizer, _library, words, name)
  with _one_sentence(f"{name}: the tokenizer fails with it"):
    return tokenizer.encode(words, add_special_tokens=special)


def text_of(tokenizer: Any, tokens: Iterable[int]) -> str:
  """Decodes tokens to text.

  Raises:
    ValueError: if the tokenizer fails.
  """
  with _one_sentence("tokens: the tokenizer fails with them"):
    return tokenizer.decode(list(tokens))


def described(tokenizer: Any) -> tuple[Any, ...]:
  """Returns a tokenizer's full definition, to compare it with others."""
  vocab = tokenizer.get_vocab(with_added_tokens=False)
  parts = [tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder]
  parts.append(tokenizer.post_processor)
  # The library prints to the standard output if token numbers are missing.
  if len(vocab) == max(vocab.values(), default=-1) + 1:
    parts.append(tokenizer.model)
  added = tokenizer.get_added_tokens_decoder()
  return (
    vocab,
    {number: repr(token) for number, token in added.items()},
    *(part and bytes(part.__getstate__()) for part in parts),
  )


def token_bytes(tokenizer: Any, vocab_size: int) -> list[bytes]:
  """Returns the bytes of each token inside a text.

  They are empty for special tokens and for tokens that the tokenizer lacks.
  Supported are byte-level tokenizers, such as GPT-2's, and those like
  SentencePiece's, which write a space as another character.

  Args:
    tokenizer: tokenizer of the package tokenizers.
    vocab_size: number of tokens of the network.

  Raises:
    ValueError: if the tokenizer is of another kind.
  """
  with _one_sentence("tokenizer: the bytes of its tokens are unknown"):
    return _token_bytes(tokenizer, vocab_size)


def _token_bytes(tokenizer, vocab_size):
  """Returns the bytes of tokens; may raise anything."""
  # `to_str` prints to the standard output if token numbers are missing.
  decoder = tokenizer.decoder
  described = None if decoder is None else json.loads(decoder.__getstate__())
  decoders = list(_tokenizer_bounds.parts(described))
  names = [each["type"] for each in decoders]
  added = tokenizer.get_added_tokens_decoder()
  spaces = [
    each.get("replacement") or each["pattern"]["String"]
    for each in decoders
    if each["type"] == "Metaspace"
    or (each["type"] == "Replace" and each["content"] == " ")
  ]
  if "ByteLevel" in names:
    table = {character: byte for byte, character in _characters().items()}

    def content(word):
      return bytes(table[character] for character in word)

  elif spaces:

    def content(word):
      if "ByteFallback" in names and (found := _BYTE.fullmatch(word)):
        return bytes([int(found[1], 16)])
      for space in spaces:
        word = word.replace(space, " ")
      return word.encode()

  else:
    what = f"the decoder {'+'.join(names) or None}"
    expected = "ByteLevel, Metaspace, or Replace by a space"
    raise validate.error("tokenizer", what, expected)
  found = [b""] * vocab_size
  for word, number in tokenizer.get_vocab().items():
    if number < vocab_size:
      token = added.get(number)
      found[number] = content(word) if token is None else _added(token)
  return found


def _added(token):
  """Returns the bytes of an added token."""
  return b"" if token.special else token.content.encode()


def _characters():
  """The printable character for each byte in byte-level tokenizers."""
  shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
  others = [byte for byte in range(256) if byte not in shown]
  pairs = {byte: chr(byte) for byte in shown}
  return pairs | {byte: chr(256 + i) for i, byte in enumerate(others)}
