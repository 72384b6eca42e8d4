"""A server's answers to one request, whole or as a stream."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from jaxseq.generation import _chats
from jaxseq.generation import _completions
from jaxseq.generation import scoring
from jaxseq.generation import streaming
from jaxseq.generation import texts
from jaxseq.generation.requests import Request


class Answer:
  """The choices of an answer, optionally after the prompts.

  Attributes:
    drawn: number of drawn tokens so far.
  """

  def __init__(
    self,
    completion: _completions.Completion,
    codec: texts.Codec,
    form: _chats.Form,
    scores: Sequence[scoring.Scores],
  ):
    """Returns an empty answer.

    Args:
      completion: the request.
      codec: codec of texts.
      form: form of the route.
      scores: log probabilities of the prompts; empty if the answer does not
        contain them.
    """
    self.drawn = 0
    self._completion = completion
    self._codec = codec
    self._form = form
    pairs = zip(completion.requests, scores)
    self._fronts = [_prompt_pieces(*pair, codec) for pair in pairs]
    # Number of characters of each choice so far.
    self._offsets: dict[int, int] = {}

  def whole(
    self, rows: Mapping[int, Sequence[streaming.Piece]]
  ) -> list[dict[str, Any]]:
    """Returns all choices of ended rows, by their numbers."""
    return [
      self._form.choice(self._choice(i, row)) for i, row in sorted(rows.items())
    ]

  def piece(
    self, index: int, pieces: Sequence[streaming.Piece]
  ) -> dict[str, Any] | None:
    """Returns the next chunk of a choice, or None if it is empty."""
    is_first = index not in self._offsets
    choice = self._choice(index, pieces)
    if choice["text"] or choice["finish_reason"] or choice["logprobs"]:
      return self._form.delta(choice, is_first)
    if is_first:
      # The next one is the first.
      del self._offsets[index]
    return None

  def usage(self) -> dict[str, int]:
    """Returns the numbers of tokens."""
    return _completions.usage(self._completion, self.drawn)

  def _choice(self, index, pieces):
    """The next pieces of a choice, after the prompt if they are the first."""
    completion = self._completion
    self.drawn += len(pieces)
    text, front, offset = "", [], self._offsets.get(index)
    if offset is None and completion.echo:
      prompt = index // completion.requests[0].count
      text = completion.echo[prompt]
      front = self._fronts[prompt] if self._fronts else []
    shown = [] if completion.is_echo_alone else pieces
    logs = None
    if completion.logprobs:
      logs = self._form.logs([*front, *shown], self._codec, offset or 0)
    text += "".join(piece.text for piece in shown)
    self._offsets[index] = (offset or 0) + len(text)
    reason = pieces[-1].reason
    if reason is not None and completion.is_echo_alone:
      reason = "length"
    return _completions.choice(index, text, reason, logs)


def _prompt_pieces(
  request: Request, scores: scoring.Scores, codec: texts.Codec
) -> list[streaming.Piece]:
  """The tokens of a prompt, the first of which has no probability."""
  text, pieces = texts.TextStream(codec), []
  for i, token in enumerate(request.prompt.tolist()):
    is_start = i == 0 and token == codec.start
    written = "" if is_start else text.push(token)
    if i == len(request.prompt) - 1:
      written += text.finish()
    log_prob, best = None, ()
    if i:
      log_prob = float(scores.log_probs[i - 1])
      best = streaming.pairs_of(scores.tops, i - 1)[: request.top_log_probs]
    pieces.append(streaming.Piece(0, 0, token, log_prob, written, None, best))
  return pieces
