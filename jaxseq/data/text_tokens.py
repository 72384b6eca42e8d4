"""Texts as bytes, or as the tokens of a tokenizer of the package tokenizers."""

from typing import Any

import numpy as np

from jaxseq.data import packages

# What a network of tokens reads where a document begins.
START = 0


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
