"""The completions interface: bodies of requests, and answers, as JSON.

The fields are those of the interface that public client libraries speak, with
`top_k`, `min_p`, `repetition_penalty`, `min_tokens`, `stop_token_ids` and
`regex`, an expression that the whole answer matches, beside them. What is not
offered is refused, and not left out silently.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import secrets
import time
from typing import Any

from jaxseq import _validate
from jaxseq.generation import streaming
from jaxseq.generation import texts
from jaxseq.generation import token_sampling
from jaxseq.generation.requests import Request

# Fields of the interface that have no other value here.
_FIXED = {
  "best_of": (None, 1),
  "echo": (None, False),
  "logit_bias": (None, {}),
  "suffix": (None, ""),
}
# Fields that change nothing.
_IGNORED = ("model", "user", "stream_options")
_SAMPLING = {
  "temperature": "temperature",
  "top_k": "top_k",
  "top_p": "top_p",
  "min_p": "min_p",
  "repetition_penalty": "repetition_penalty",
  "presence_penalty": "presence_penalty",
  "frequency_penalty": "frequency_penalty",
  "min_tokens": "min_length",
}
_OWN = (
  *("prompt", "max_tokens", "n", "stop", "stop_token_ids", "seed"),
  *("stream", "logprobs", "regex"),
)


@dataclasses.dataclass(frozen=True)
class Limits:
  """What a request may ask for.

  Attributes:
    max_tokens: the most tokens of a continuation.
    prompt_tokens: the most tokens of a prompt.
    rows: the most continuations of a request, of all its prompts together.
    stops: the most stop texts.
  """

  max_tokens: int = 4096
  prompt_tokens: int = 65536
  rows: int = 64
  stops: int = 16

  def __post_init__(self):
    names = "max_tokens", "prompt_tokens", "rows", "stops"
    _validate.fields(self, positive=names)


@dataclasses.dataclass(frozen=True)
class Completion:
  """A request of the interface.

  Attributes:
    requests: one for each prompt.
    stop: texts of which each ends a row.
    stream: whether the answer comes in pieces.
    logprobs: whether it has log probabilities.
  """

  requests: tuple[Request, ...]
  stop: tuple[str, ...]
  stream: bool
  logprobs: bool


def parse(
  body: Any,
  codec: texts.Codec,
  limits: Limits = Limits(),
  stop_tokens: Sequence[int] = (),
) -> Completion:
  """Reads the body of a request.

  Args:
    body: what its JSON holds.
    codec: of the prompts.
    limits: what it may ask for.
    stop_tokens: tokens that end every row.

  Raises:
    ValueError: if a field is unknown, wrong or beyond a limit.
  """
  if not isinstance(body, Mapping):
    raise _validate.error("body", type(body).__name__, "a JSON object")
  known = {*_FIXED, *_IGNORED, *_SAMPLING, *_OWN}
  for name in body:
    _validate.choice("field", name, sorted(known))
  for name, values in _FIXED.items():
    if body.get(name) not in values:
      raise _validate.error(name, body[name], f"{values[1]!r}, or none")
  # A field without a value is one that is not there.
  body = {k: value for k, value in body.items() if value is not None}
  length = body.get("max_tokens", 16)
  _validate.integer("max_tokens", length, 1, limits.max_tokens)
  count = _validate.integer("n", body.get("n", 1), 1, limits.rows)
  seed = body.get("seed", secrets.randbits(32))
  _validate.integer("seed", seed)
  stop = _texts("stop", body.get("stop", []))
  if len(stop) > limits.stops or not all(stop):
    expected = f"up to {limits.stops} texts that are not empty"
    raise _validate.error("stop", body["stop"], expected)
  own = body.get("stop_token_ids", [])
  if not isinstance(own, list):
    raise _validate.error("stop_token_ids", own, "a list of tokens")
  sampling = token_sampling.Sampling(
    stop=(*stop_tokens, *own),
    **{ours: body[name] for name, ours in _SAMPLING.items() if name in body},
  )
  pattern = body.get("regex")
  if not isinstance(pattern, str | None):
    raise _validate.error("regex", type(pattern).__name__, "a text")
  prompts = _prompts(body.get("prompt"))
  rows = count * len(prompts)
  if rows > limits.rows:
    expected = f"at most {limits.rows}, prompts times n"
    raise _validate.error("rows", rows, expected)
  requests = []
  for i, prompt in enumerate(prompts):
    tokens = streaming.encoded(prompt, codec)
    if not 0 < len(tokens) <= limits.prompt_tokens:
      got = f"{len(tokens)} tokens"
      expected = f"from 1 to {limits.prompt_tokens}"
      raise _validate.error("prompt", got, expected)
    requests.append(
      Request(
        tokens,
        length,
        sampling=sampling,
        seed=seed + i,
        count=count,
        pattern=pattern,
      )
    )
  logprobs = body.get("logprobs")
  if logprobs is not None and not isinstance(logprobs, bool):
    _validate.integer("logprobs", logprobs, 0, 1)
  return Completion(
    tuple(requests),
    tuple(stop),
    _flag("stream", body.get("stream", False)),
    logprobs is not None and logprobs is not False,
  )


def choice(
  index: int,
  pieces: Sequence[streaming.Piece],
  codec: texts.Codec,
  logprobs: bool,
) -> dict[str, Any]:
  """Returns some pieces of a row as a choice of an answer.

  Args:
    index: of the row among the answer's.
    pieces: one after the other.
    codec: of the tokens.
    logprobs: whether the choice has log probabilities.
  """
  reason = pieces[-1].reason
  found = None
  if logprobs:
    found = {
      "tokens": [codec.decode([piece.token]) for piece in pieces],
      "token_logprobs": [piece.log_prob for piece in pieces],
      "top_logprobs": None,
      "text_offset": None,
    }
  return {
    "index": index,
    "text": "".join(piece.text for piece in pieces),
    "logprobs": found,
    "finish_reason": "stop" if reason == "match" else reason,
  }


def answer(
  number: str,
  model: str,
  choices: Sequence[Mapping[str, Any]],
  usage: Mapping[str, int] | None = None,
) -> dict[str, Any]:
  """Returns an answer, or a piece of one.

  Args:
    number: of the answer.
    model: name of the model.
    choices: from `choice`.
    usage: numbers of tokens, of a whole answer.
  """
  made = {
    "id": number,
    "object": "text_completion",
    "created": int(time.time()),
    "model": model,
    "choices": list(choices),
  }
  return made | ({} if usage is None else {"usage": dict(usage)})


def usage(completion: Completion, drawn: int) -> dict[str, int]:
  """Returns the numbers of tokens of an answer, `drawn` of them generated."""
  read = sum(len(request.prompt) for request in completion.requests)
  return {
    "prompt_tokens": read,
    "completion_tokens": drawn,
    "total_tokens": read + drawn,
  }


def error(message: str, kind: str) -> dict[str, Any]:
  """Returns the answer that says what is wrong."""
  return {"error": {"message": message, "type": kind, "code": None}}


def _flag(name, value):
  """Checks a truth value."""
  if not isinstance(value, bool):
    raise _validate.error(name, value, "true or false")
  return value


def _texts(name, value):
  """Returns a text, or a list of them, as a list."""
  found = [value] if isinstance(value, str) else value
  if not isinstance(found, list) or not all(
    isinstance(text, str) for text in found
  ):
    raise _validate.error(name, value, "a text, or a list of texts")
  return found


def _prompts(value):
  """Returns prompts, each a text or a list of tokens."""
  one = isinstance(value, str) or (
    isinstance(value, list) and value and _is_token(value[0])
  )
  found = [value] if one else value
  fits = isinstance(found, list) and all(
    isinstance(prompt, str)
    or (isinstance(prompt, list) and all(map(_is_token, prompt)))
    for prompt in found
  )
  if not fits or not found:
    kind = type(value).__name__
    expected = "a text, a list of tokens, or a list of these"
    raise _validate.error("prompt", kind, expected)
  return found


def _is_token(value):
  """Whether a value is an integer that may be a token."""
  fits = isinstance(value, int) and not isinstance(value, bool)
  return fits and abs(value) < 2**31
