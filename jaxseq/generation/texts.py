"""Texts of tokens: encoding, incremental decoding, texts that end a row."""

import codecs
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq import validate
from jaxseq.data import text_tokens
from jaxseq.generation import offline
from jaxseq.types import PyTree

# The character that decoders write for bytes that are not a text.
_REPLACEMENT = "\ufffd"
# Maximum number of prompt tokens that are decoded with the continuation.
_BEFORE = 8


class Codec:
  """Texts as tokens and back: bytes, or a tokenizer's.

  Attributes:
    tokenizer: tokenizer of the package tokenizers, see
      `data.text_tokens.read_tokenizer`; bytes if None.
    start: the token before a text, or None.
  """

  def __init__(
    self, tokenizer: Any | None = None, start: int | None = text_tokens.START
  ):
    """Returns the codec of a tokenizer.

    Args:
      tokenizer: tokenizer of the package tokenizers; bytes if None.
      start: the token before every text, as in the training of
        `tasks.language`; None if the tokenizer adds it.
    """
    self.tokenizer = tokenizer
    self.start = start

  def encode(self, text: str) -> np.ndarray:
    """Returns the tokens of a text at the start of a document, int32.

    Raises:
      ValueError: if it is not a text, or has no UTF-8.
    """
    validate.instance("text", text, str, "str")
    if self.tokenizer is None:
      try:
        tokens = list(text.encode())
      except UnicodeEncodeError as error:
        wrong = text[error.start]
        raise validate.error("text", wrong, "characters of UTF-8") from error
    else:
      special = self.start is None
      tokens = text_tokens.token_ids(self.tokenizer, text, special=special)
    if self.start is not None:
      tokens = [self.start, *tokens]
    return np.array(tokens, np.int32)

  def decode(self, tokens: Iterable[int], before: Sequence[int] = ()) -> str:
    """Returns the text of generated tokens.

    Args:
      tokens: the generated tokens.
      before: tokens of the prompt. A decoder may omit the space before a word
        only at the start of a text.

    Raises:
      ValueError: if there is no tokenizer and a token is not a byte.
    """
    tokens = [int(token) for token in tokens]
    if self.tokenizer is None:
      for token in tokens:
        validate.integer("token", token, 0, 255)
      return bytes(tokens).decode("utf-8", errors="replace")
    before = self.last(before)
    whole = text_tokens.text_of(self.tokenizer, [*before, *tokens])
    if not before:
      return whole
    return whole[len(text_tokens.text_of(self.tokenizer, before)) :]

  def last(self, prompt: Sequence[int]) -> list[int]:
    """Returns the last tokens of a prompt, to decode a continuation.

    There are none for bytes, or if the prompt is only a start token. They do
    not split a character.
    """
    if self.tokenizer is None:
      return []
    first = int(len(prompt) > 0 and prompt[0] == self.start)
    tokens = [int(token) for token in prompt[first:][-_BEFORE:]]
    while tokens:
      if _REPLACEMENT not in text_tokens.text_of(self.tokenizer, tokens):
        break
      del tokens[0]
    return tokens


class TextStream:
  """The incremental text of one row.

  A text is returned as soon as later tokens cannot change it: incomplete
  characters are held back, and so is a possible start of a text that ends the
  row, until it is known. The row's text is that before the stop text that ends
  first.

      stream = TextStream(Codec(), stop=("THE END",))
      text = "".join(stream.push(token) for token in tokens)
      text += stream.finish()

  Attributes:
    stopped: whether a stop text has occurred.
  """

  def __init__(
    self,
    codec: Codec,
    stop: Iterable[str] = (),
    before: Sequence[int] = (),
  ):
    """Returns an empty stream.

    Args:
      codec: codec of the tokens.
      stop: texts each of which ends the row; they are not returned.
      before: see `Codec.decode`.

    Raises:
      ValueError: if one of the texts is empty.
    """
    self.stopped = False
    self._codec = codec
    self._stop = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(self._stop):
      raise validate.error("stop", self._stop, "texts that are not empty")
    self._held = ""
    self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
    # Tokens whose texts may depend on each other, and the number of those that
    # were returned: a decoder may write a word differently at a start.
    self._tokens = codec.last(before)
    self._known = len(self._tokens)

  def push(self, token: int) -> str:
    """Adds the next token and returns the text that it completes."""
    if self.stopped:
      return ""
    return self._cut(self._decoded(int(token)))

  def finish(self) -> str:
    """Returns the text that is held back, if no token follows."""
    if self.stopped:
      return ""
    if self._codec.tokenizer is None:
      rest = self._bytes.decode(b"", final=True)
    else:
      rest = self._rest()
    text = self._cut(rest)
    if not self.stopped:
      text, self._held = text + self._held, ""
    return text

  def _decoded(self, token):
    """Returns the characters that a token completes."""
    if self._codec.tokenizer is None:
      return self._bytes.decode(bytes([token]))
    self._tokens.append(token)
    text = self._rest()
    if text.endswith(_REPLACEMENT):
      return ""
    self._tokens = self._tokens[self._known :]
    self._known = len(self._tokens)
    return text

  def _rest(self):
    """Returns the text of the tokens that was not returned before."""
    prefix = self._codec.decode(self._tokens[: self._known])
    return self._codec.decode(self._tokens)[len(prefix) :]

  def _cut(self, text):
    """Adds characters to those held back; returns the certain ones."""
    held = self._held + text
    stops = [(held.find(stop), stop) for stop in self._stop if stop in held]
    if stops:
      self.stopped, self._held = True, ""
      return held[: min((i + len(stop), i) for i, stop in stops)[1]]
    longest = max(map(len, self._stop), default=1) - 1
    for place in range(max(0, len(held) - longest), len(held) + 1):
      if any(stop.startswith(held[place:]) for stop in self._stop):
        break
    self._held = held[place:]
    return held[:place]


def printable(text: str) -> str:
  """Escapes control characters of a text for a terminal."""
  return "".join(
    c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text
  )


def continue_text(
  network: nn.SequenceNetwork,
  variables: PyTree,
  text: str,
  length: int,
  key: jax.Array,
  *,
  codec: Codec | None = None,
  **options: Any,
) -> str:
  """Continues a text with a network of tokens; see `generation.generate`.

  The text is the start of a document, and may be empty.

  Args:
    network: as in `generation.generate`.
    variables: of the network.
    text: the start of the text.
    length: number of tokens to generate.
    key: random key.
    codec: codec of the network's tokens; of bytes if None.
    **options: as in `generation.generate`.

  Returns:
    The text with its continuation, with escaped control characters.
  """
  codec = codec or Codec()
  prompt = codec.encode(text)
  tokens, _ = offline.generate(
    network, variables, jnp.asarray(prompt), length, key, **options
  )
  return text + printable(codec.decode(np.asarray(tokens), prompt))
