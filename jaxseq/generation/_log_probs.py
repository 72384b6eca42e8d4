"""Log probabilities of answers, in the forms of both interfaces."""

from collections.abc import Sequence
from typing import Any

from jaxseq.generation import streaming
from jaxseq.generation import texts


def of_completion(
  pieces: Sequence[streaming.Piece], codec: texts.Codec, offset: int = 0
) -> dict[str, Any]:
  """Returns the log probabilities of tokens for /v1/completions.

  Args:
    pieces: pieces of a row, one after the other.
    codec: codec of their texts.
    offset: number of characters of the answer before them.
  """
  tokens, offsets, tops = [], [], []
  for piece in pieces:
    tokens.append(codec.decode([piece.token]))
    offsets.append(offset)
    offset += len(piece.text)
    tops.append(_by_text(piece, codec))
  return {
    "tokens": tokens,
    "token_logprobs": [piece.log_prob for piece in pieces],
    "top_logprobs": tops if any(tops) else None,
    "text_offset": offsets,
  }


def of_chat(
  pieces: Sequence[streaming.Piece], codec: texts.Codec, offset: int = 0
) -> dict[str, Any]:
  """Returns log probabilities for /v1/chat/completions; see `of_completion`."""
  del offset

  def entry(token, log_prob):
    text = codec.decode([token])
    return {"token": text, "logprob": log_prob, "bytes": list(text.encode())}

  content = [
    entry(piece.token, piece.log_prob)
    | {"top_logprobs": [entry(*pair) for pair in piece.tops]}
    for piece in pieces
  ]
  return {"content": content, "refusal": None}


def _by_text(piece, codec):
  """The most probable tokens and the drawn one; None if not requested."""
  if not piece.tops:
    return None
  # Of tokens with equal texts, such as parts of characters, the first one
  # counts.
  named = {}
  for token, log_prob in (*piece.tops, (piece.token, piece.log_prob)):
    named.setdefault(codec.decode([token]), log_prob)
  return named
