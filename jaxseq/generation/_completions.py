"""The completions interface: bodies of requests, and answers, as JSON.

The fields are those of the interface of public client libraries, plus `top_k`,
`min_p`, `repetition_penalty`, `min_tokens`, `stop_token_ids`, `ignore_eos` and
`regex`, an expression that the whole answer matches. Unsupported fields are
rejected, and not silently ignored.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import secrets
import time
from typing import Any

from jaxseq import validate
from jaxseq.generation import _schemas
from jaxseq.generation import streaming
from jaxseq.generation import texts
from jaxseq.generation import token_sampling
from jaxseq.generation.requests import MOST_TOPS
from jaxseq.generation.requests import Request

# Fields of the interface that may have only this value here.
_FIXED = {
  "best_of": (None, 1),
  "suffix": (None, ""),
}
# Fields without an effect: notes of clients, and wishes about hosts.
_IGNORED = (
  *("user", "metadata", "store", "service_tier", "safety_identifier"),
  *("prompt_cache_key", "parallel_tool_calls"),
)
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
# Maximum number of characters of a message, which mostly quotes the client.
_LONGEST = 1000
_OTHERS = (
  *("prompt", "max_tokens", "n", "stop", "stop_token_ids", "seed"),
  *("stream", "stream_options", "logprobs", "regex", "model"),
  *("response_format", "max_completion_tokens"),
  *("echo", "logit_bias", "ignore_eos"),
)
# Names in the engine's messages, and the corresponding fields.
_FIELDS = {ours: name for name, ours in _SAMPLING.items()} | {
  "pattern": "regex",
  # Texts that end a row are not passed to the engine.
  "stop": "stop_token_ids",
}


class UnknownModel(ValueError):
  """A request names a model that is not served."""


@dataclasses.dataclass(frozen=True)
class Limits:
  """Limits of a request."""

  max_tokens: int = 4096  # Of a continuation.
  prompt_tokens: int = 65536
  rows: int = 64  # Continuations, of all prompts together.
  stops: int = 16  # Texts that end a row.

  def __post_init__(self):
    names = "max_tokens", "prompt_tokens", "rows", "stops"
    validate.fields(self, positive=names)


@dataclasses.dataclass(frozen=True)
class Completion:
  """A request of the interface."""

  requests: tuple[Request, ...]  # One for each prompt.
  stop: tuple[str, ...]  # Texts each of which ends a row.
  stream: bool  # Whether the answer is streamed.
  logprobs: bool  # Whether it has log probabilities.
  include_usage: bool = False  # Whether the last chunk has token counts.
  # The text before the answers of each prompt; none if it is not echoed.
  echo: tuple[str, ...] = ()
  is_echo_alone: bool = False  # Whether no tokens follow the echo.


def parse(
  body: Any,
  codec: texts.Codec,
  limits: Limits = Limits(),
  stop_tokens: Sequence[int] = (),
  model: str | None = None,
  adapters: Sequence[str] = (),
) -> Completion:
  """Parses the body of a request; it need not name the served model.

  The name of an adapter, instead of the model's, selects the model with the
  adapter.
  """
  body = _known(body)
  name = _check_model(body.get("model", ""), model, adapters)
  echo = _flag("echo", body.get("echo", False))
  length = body.get("max_completion_tokens", body.get("max_tokens", 16))
  validate.integer("max_tokens", length, 0 if echo else 1, limits.max_tokens)
  count = validate.integer("n", body.get("n", 1), 1, limits.rows)
  seed = body.get("seed", secrets.randbits(32))
  # More bits than these would have no effect.
  validate.integer("seed", seed, 0, 2**32 - 1)
  stop = _texts("stop", body.get("stop", []))
  if len(stop) > limits.stops or not all(stop):
    expected = f"up to {limits.stops} texts that are not empty"
    raise validate.error("stop", body["stop"], expected)
  sampling = _sampling(body, stop_tokens)
  pattern = _pattern(body)
  prompts = _prompts(body.get("prompt"))
  rows = count * len(prompts)
  if rows > limits.rows:
    expected = f"at most {limits.rows}, prompts times n"
    raise validate.error("rows", rows, expected)
  logprobs = body.get("logprobs")
  tops = 0
  if logprobs is not None and not isinstance(logprobs, bool):
    tops = validate.integer("logprobs", logprobs, 0, MOST_TOPS)
  options: dict[str, Any] = {"count": count, "pattern": pattern}
  options["adapter"] = name if name in adapters else None
  options |= {"sampling": sampling, "top_log_probs": tops}
  requests, echoes = [], []
  for i, prompt in enumerate(prompts):
    tokens = streaming.encoded(prompt, codec)
    if not 0 < len(tokens) <= limits.prompt_tokens:
      got = f"{len(tokens)} tokens"
      expected = f"from 1 to {limits.prompt_tokens}, which the model reads"
      raise validate.error("prompt", got, expected)
    # A token that is not shown, if there is only an echo.
    requests.append(Request(tokens, max(1, length), seed=seed + i, **options))
    if echo:
      is_text, has_start = isinstance(prompt, str), tokens[0] == codec.start
      echoes.append(
        prompt if is_text else codec.decode(tokens[int(has_start) :])
      )
  stream = _flag("stream", body.get("stream", False))
  include_usage = _include_usage(body.get("stream_options"), stream)
  logged = logprobs is not None and logprobs is not False
  rest = logged, include_usage, tuple(echoes), length == 0
  return Completion(tuple(requests), tuple(stop), stream, *rest)


def _known(body):
  """Checks the names of fields; returns those with a value."""
  validate.instance("body", body, Mapping, "a JSON object")
  names = {*_FIXED, *_IGNORED, *_SAMPLING, *_OTHERS}
  for name in body:
    validate.choice("field", name, sorted(names))
  for name, values in _FIXED.items():
    if body.get(name) not in values:
      raise validate.error(name, body[name], f"{values[1]!r}, or none")
  return {k: value for k, value in body.items() if value is not None}


def _sampling(body, stop_tokens):
  """Returns how tokens are drawn, and which of them end a row."""
  end_tokens = body.get("stop_token_ids", [])
  if not isinstance(end_tokens, list):
    raise validate.error("stop_token_ids", end_tokens, "a list of tokens")
  if _flag("ignore_eos", body.get("ignore_eos", False)):
    stop_tokens = ()
  try:
    return token_sampling.Sampling(
      stop=(*stop_tokens, *end_tokens),
      logit_bias=_biases(body.get("logit_bias", {})),
      **{ours: body[name] for name, ours in _SAMPLING.items() if name in body},
    )
  except ValueError as wrong:
    raise ValueError(in_fields(wrong)) from wrong


def _biases(entries):
  """Parses biases of logits by tokens, which are texts in JSON."""
  validate.instance("logit_bias", entries, Mapping, "an object of tokens")
  biases = {}
  for token, bias in entries.items():
    if not (token.isascii() and token.isdigit()):
      raise validate.error("logit_bias", _shown(token), "numbers of tokens")
    biases[int(token)] = bias
  return biases


def _pattern(body):
  """Returns the regular expression of the answers, or that of their schema."""
  pattern = body.get("regex")
  validate.instance("regex", pattern, str | None, "a text")
  if "response_format" not in body:
    return pattern
  if pattern is not None:
    raise validate.error("regex", pattern, "none beside response_format")
  return _schemas.pattern(body["response_format"])


def in_fields(wrong: ValueError) -> str:
  """Returns an engine's message with the name of the interface's field."""
  name, colon, rest = str(wrong).partition(":")
  return f"{_FIELDS.get(name, name)}{colon}{rest}"


def choice(
  index: int,
  text: str,
  reason: str | None,
  logs: Mapping[str, Any] | None,
) -> dict[str, Any]:
  """Returns successive pieces of a row as a choice of an answer."""
  return {
    "index": index,
    "text": text,
    "logprobs": logs,
    "finish_reason": "stop" if reason == "match" else reason,
  }


def answer(
  number: str,
  model: str,
  choices: Sequence[Mapping[str, Any]],
  usage: Mapping[str, int] | None = None,
  kind: str = "text_completion",
) -> dict[str, Any]:
  """Returns an answer, or a chunk of one, with the results of `choice`."""
  body = {
    "id": number,
    "object": kind,
    "created": int(time.time()),
    "model": model,
    "choices": list(choices),
  }
  return body | ({} if usage is None else {"usage": dict(usage)})


def usage(completion: Completion, drawn: int) -> dict[str, int]:
  """Returns the numbers of tokens of an answer, `drawn` of them generated."""
  drawn = 0 if completion.is_echo_alone else drawn
  read = sum(len(request.prompt) for request in completion.requests)
  return {
    "prompt_tokens": read,
    "completion_tokens": drawn,
    "total_tokens": read + drawn,
  }


def event(value: object) -> str:
  """Returns a value as a server-sent event."""
  return f"data: {json.dumps(value)}\n\n"


def error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
  """Returns an error answer with a one-sentence message."""
  # The middle of a long sentence is omitted.
  if len(message) > _LONGEST:
    message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
  return {"error": {"message": message, "type": kind, "code": code}}


def _check_model(name, served, adapters):
  """Rejects the name of another model; returns the name, which may be empty."""
  if not isinstance(name, str):
    raise validate.error("model", _shown(name), "a text")
  if name and served is not None and name not in (served, *adapters):
    names = " or ".join(map(repr, (served, *adapters)))
    raise UnknownModel(str(validate.error("model", name, names)))
  return name


def _include_usage(options, stream):
  """Returns whether `stream_options` requests the numbers of tokens."""
  if options is None:
    return False
  if not stream:
    raise validate.error(
      "stream_options", _shown(options), "none, as stream is not true"
    )
  if not isinstance(options, dict) or options.keys() - {"include_usage"}:
    expected = "an object with include_usage alone"
    raise validate.error("stream_options", _shown(options), expected)
  value = options.get("include_usage", False)
  return _flag("stream_options.include_usage", value)


def _flag(name, value):
  """Checks a truth value."""
  if not isinstance(value, bool):
    raise validate.error(name, value, "true or false")
  return value


def _texts(name, value):
  """Returns a text, or a list of them, as a list."""
  entries = [value] if isinstance(value, str) else value
  if not isinstance(entries, list) or not all(
    isinstance(text, str) for text in entries
  ):
    raise validate.error(name, value, "a text, or a list of texts")
  return entries


def _prompts(value):
  """Returns prompts, each a text or a list of tokens."""
  if isinstance(value, str):
    return [value]
  if not isinstance(value, list) or not value:
    got = None if value is None else type(value).__name__
    got = "an empty list" if value == [] else got
    expected = "a text, a list of tokens, or a list of these"
    raise validate.error("prompt", got, expected)
  if not isinstance(value[0], str | list):
    _check_tokens("prompt", value)
    return [value]
  for i, prompt in enumerate(value):
    if isinstance(prompt, list):
      _check_tokens(f"prompt[{i}]", prompt)
    elif not isinstance(prompt, str):
      expected = "a text, or a list of tokens"
      raise validate.error(f"prompt[{i}]", _shown(prompt), expected)
  return value


def _check_tokens(name, values):
  """Rejects a list with an element that is not a token."""
  for i, value in enumerate(values):
    fits = isinstance(value, int) and not isinstance(value, bool)
    if not fits or abs(value) >= 2**31:
      expected = "a token, which is an integer below 2**31"
      raise validate.error(f"{name}[{i}]", _shown(value), expected)


def _shown(value):
  """Returns a value for a message; its type if its text is long."""
  return value if len(repr(value)) <= 80 else type(value).__name__
