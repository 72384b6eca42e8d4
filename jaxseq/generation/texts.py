"""Texts of tokens: encoding, decoding as they come, texts that end a row."""

import codecs
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.data import text_tokens
from jaxseq.generation import offline

# What decoders write in the place of bytes that are no text.
_REPLACEMENT = "\ufffd"
# Tokens of a prompt that what follows is decoded behind, at most.
_BEFORE = 8


class Codec:
  """Texts as tokens and back: bytes, or a tokenizer's.

  Attributes:
    tokenizer: of the package tokenizers, see `data.text_tokens.read_tokenizer`;
      bytes if None.
    start: the token in front of a text, or None.
  """

  def __init__(
    self, tokenizer: Any | None = None, start: int | None = text_tokens.START
  ):
    """Returns the codec of a tokenizer.

    Args:
      tokenizer: of the package tokenizers; bytes if None.
      start: the token in front of every text, as `tasks.language` trains; None
        if the tokenizer itself writes what stands there.
    """
    self.tokenizer = tokenizer
    self.start = start

  def encode(self, text: str) -> np.ndarray:
    """Returns the tokens of a text, which stands at the beginning, int32.

    Raises:
      ValueError: if it is no text, or has no UTF-8.
    """
    _validate.instance("text", text, str, "str")
    if self.tokenizer is None:
      try:
        tokens = list(text.encode())
      except UnicodeEncodeError as error:
        wrong = text[error.start]
        raise _validate.error("text", wrong, "characters of UTF-8") from error
    else:
      special = self.start is None
      tokens = text_tokens.token_ids(self.tokenizer, text, special=special)
    if self.start is not None:
      tokens = [self.start, *tokens]
    return np.array(tokens, np.int32)

  def decode(self, tokens: Iterable[int], before: Sequence[int] = ()) -> str:
    """Returns the text of generated tokens.

    Args:
      tokens: that were generated.
      before: those of the prompt. A decoder may leave out the space in front of
        a word where a text begins, and there alone.

    Raises:
      ValueError: if there is no tokenizer and one is no byte.
    """
    tokens = [int(token) for token in tokens]
    if self.tokenizer is None:
      for token in tokens:
        _validate.integer("token", token, 0, 255)
      return bytes(tokens).decode("utf-8", errors="replace")
    before = self.last(before)
    whole = text_tokens.text_of(self.tokenizer, [*before, *tokens])
    if not before:
      return whole
    return whole[len(text_tokens.text_of(self.tokenizer, before)) :]

  def last(self, prompt: Sequence[int]) -> list[int]:
    """Returns the last tokens of a prompt, for what follows to be decoded.

    There are none of bytes, or of a prompt that is no more than a start. No
    character is among them in part.
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
  """The text of one row, as its tokens come.

  A text is handed out as soon as later tokens cannot change it: characters wait
  until they are whole, and what may be the beginning of a text that ends the
  row waits until it is known. The text before the first of these, by its end,
  is all that there is.

      stream = TextStream(Codec(), stop=("THE END",))
      text = "".join(stream.push(token) for token in tokens)
      text += stream.finish()

  Attributes:
    stopped: whether one of the texts has come.
  """

  def __init__(
    self,
    codec: Codec,
    stop: Iterable[str] = (),
    before: Sequence[int] = (),
  ):
    """Returns a stream at its beginning.

    Args:
      codec: of the tokens.
      stop: texts of which each ends the row; they are not handed out.
      before: see `Codec.decode`.

    Raises:
      ValueError: if one of the texts is empty.
    """
    self.stopped = False
    self._codec = codec
    self._stop = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(self._stop):
      raise _validate.error("stop", self._stop, "texts that are not empty")
    self._held = ""
    self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
    # Tokens whose text may depend on each other, and how many of these have
    # been handed out: a decoder may write a word otherwise at a beginning.
    self._tokens = codec.last(before)
    self._known = len(self._tokens)

  def push(self, token: int) -> str:
    """Takes the next token and returns the text that is certain with it."""
    if self.stopped:
      return ""
    return self._cut(self._decoded(int(token)))

  def finish(self) -> str:
    """Returns what is held back, when no token follows."""
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
    """Characters that are whole with a token."""
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
    """Text of the tokens that was not handed out."""
    prefix = self._codec.decode(self._tokens[: self._known])
    return self._codec.decode(self._tokens)[len(prefix) :]

  def _cut(self, text):
    """Adds characters to those held back; returns what is certain."""
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
  """Returns a text with escapes for what could steer a terminal."""
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

  The text stands at the beginning of a document, and may be empty.

  Args:
    network: as in `generation.generate`.
    variables: of the network.
    text: the beginning.
    length: number of tokens to generate.
    key: random key.
    codec: of the network's tokens; of bytes if None.
    **options: as in `generation.generate`.

  Returns:
    The text and what follows, with escapes for what could steer a terminal.
  """
  codec = codec or Codec()
  prompt = codec.encode(text)
  tokens, _ = offline.generate(
    network, variables, jnp.asarray(prompt), length, key, **options
  )
  return text + printable(codec.decode(np.asarray(tokens), prompt))
