"""Texts as bytes, or as the tokens of a tokenizer of the package tokenizers."""

import json
import re
from typing import Any

import numpy as np

from jaxseq import _validate
from jaxseq.data import packages

# What a network of tokens reads where a document begins.
START = 0
# A byte among the tokens of SentencePiece.
_BYTE = re.compile("<0x([0-9A-F]{2})>")


def read_tokenizer(content: str, name: str = "tokenizer") -> Any:
  """Returns a tokenizer of the package tokenizers.

  Args:
    content: of its JSON file.
    name: what to call it in messages.

  Raises:
    ValueError: if it is none.
    MissingData: if the package is not installed.
  """
  library = packages.imported(
    "tokenizers", "jaxseq[tokenizers]", f"{name} is read by tokenizers"
  )
  try:
    return library.Tokenizer.from_str(content)
  # The library raises nothing more precise.
  except Exception as error:
    raise ValueError(f"{name} is no tokenizer: {error}.") from error


def encode(content: bytes, tokenizer: Any | None, name: str) -> np.ndarray:
  """Returns a text as its bytes, or as tokens.

  Args:
    content: of the file.
    tokenizer: see `read_tokenizer`; bytes if None.
    name: of the file, for messages.

  Returns:
    (n,) uint8, or int32.

  Raises:
    ValueError: if tokens are wanted of what is no UTF-8.
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
  found = tokenizer.encode(words, add_special_tokens=False)
  return np.array(found.ids, np.int32)


def token_bytes(tokenizer: Any, vocab_size: int) -> list[bytes]:
  """Returns the bytes that each token stands for inside of a text.

  They are empty for special tokens, and for those that the tokenizer does not
  have. Known are tokenizers of bytes, such as GPT-2's, and those of the kind of
  SentencePiece, in which a space is written as another character.

  Args:
    tokenizer: of the package tokenizers.
    vocab_size: number of tokens of the network.

  Raises:
    ValueError: if the tokenizer is of another kind.
  """
  described = json.loads(tokenizer.to_str())
  decoders = _flat(described["decoder"])
  names = [each["type"] for each in decoders]
  added = {each["id"]: each for each in described["added_tokens"]}
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
    raise _validate.error("tokenizer", what, expected)
  found = [b""] * vocab_size
  for word, number in tokenizer.get_vocab().items():
    if number < vocab_size:
      own = added.get(number)
      found[number] = content(word) if own is None else _added(own)
  return found


def _added(token):
  """The bytes of a token that was added to a vocabulary."""
  return b"" if token["special"] else token["content"].encode()


def _flat(decoder):
  """The parts of a tokenizer's decoder."""
  if decoder is None:
    return []
  if decoder["type"] == "Sequence":
    return [part for each in decoder["decoders"] for part in _flat(each)]
  return [decoder]


def _characters():
  """The printable character for each byte in tokenizers of bytes."""
  shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
  others = [byte for byte in range(256) if byte not in shown]
  pairs = {byte: chr(byte) for byte in shown}
  return pairs | {byte: chr(256 + i) for i, byte in enumerate(others)}
