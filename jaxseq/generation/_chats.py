"""The chat interface: messages as prompts, and answers as messages.

A body is converted to one of the completions interface, whose prompt is the
messages as written by the model's template.
"""

from collections.abc import Callable
from collections.abc import Mapping
import json
from typing import Any
from typing import NamedTuple

from jaxseq import validate
from jaxseq.data import chats
from jaxseq.generation import _log_probs
from jaxseq.generation.requests import MOST_TOPS

_TOOL_CHOICES = ("none", "auto", None)
_NO_TEMPLATE = (
  "messages: the model has no chat template. Send a prompt to /v1/completions, "
  "or put the model's chat_template.jinja or tokenizer_config.json beside it."
)


class Form(NamedTuple):
  """The bodies of a route's requests and answers.

  Attributes:
    prefix: prefix of the names of answers.
    whole: value of "object" in an answer.
    piece: value of "object" in a chunk of a stream.
    body: converts the body of a request to that of a completion; None if it is
      one.
    choice: converts a choice of a completion to one of the answer.
    delta: the same for a chunk, with a flag whether it is the first of its
      choice.
    prompt: name of the field with the prompt, for messages.
    logs: computes the log probabilities of pieces, from a codec and the offset
      of their text.
  """

  prefix: str
  whole: str
  piece: str
  body: Callable[[Any], Any] | None
  choice: Callable[[dict[str, Any]], dict[str, Any]]
  delta: Callable[[dict[str, Any], bool], dict[str, Any]]
  prompt: str
  logs: Callable[..., dict[str, Any]]


COMPLETIONS = Form(
  "cmpl",
  "text_completion",
  "text_completion",
  None,
  lambda choice: choice,
  lambda choice, is_first: choice,
  "prompt",
  _log_probs.of_completion,
)


def make_form(template: chats.Template | None, max_tokens: int) -> Form:
  """Returns the form of chats.

  Args:
    template: template of the model; without one each request is rejected.
    max_tokens: limit of an answer if a request does not set one.
  """
  return Form(
    "chatcmpl",
    "chat.completion",
    "chat.completion.chunk",
    lambda body: _body(body, template, max_tokens),
    _choice,
    _delta,
    "messages",
    _log_probs.of_chat,
  )


def _body(body, template, max_tokens):
  """Converts the body of a chat to that of a completion."""
  validate.instance("body", body, Mapping, "a JSON object")
  if template is None:
    raise ValueError(_NO_TEMPLATE)
  body = {k: value for k, value in body.items() if value is not None}
  for name in ("prompt", "echo"):
    if name in body:
      raise validate.error("field", name, "messages in a chat")
  messages = _messages(body.pop("messages", None))
  tools = _tools(body.pop("tools", None))
  choice = body.pop("tool_choice", None)
  validate.choice("tool_choice", choice, _TOOL_CHOICES)
  options = body.pop("chat_template_kwargs", {})
  validate.instance("chat_template_kwargs", options, Mapping, "an object")
  # Clients of the first interface have two words for the same.
  length = body.pop("max_tokens", max_tokens)
  logprobs = body.pop("logprobs", False)
  validate.instance("logprobs", logprobs, bool, "true or false")
  most = body.pop("top_logprobs", 0)
  validate.integer("top_logprobs", most, 0, MOST_TOPS)
  if most and not logprobs:
    raise validate.error("top_logprobs", most, "0, or logprobs: true beside it")
  tokens = template.encode(
    messages, True, "messages", None if choice == "none" else tools, options
  )
  return {
    "max_completion_tokens": length,
    **body,
    "prompt": tokens or [[]],
    "logprobs": most or logprobs,
  }


def _messages(value):
  """Converts messages to ones whose contents are texts."""
  validate.instance("messages", value, list, "a list of messages")
  if not value:
    raise validate.error("messages", value, "at least one message")
  messages = []
  for number, message in enumerate(value):
    name = f"messages[{number}]"
    validate.instance(name, message, Mapping, "an object")
    role, content = message.get("role"), message.get("content")
    validate.instance(f"{name}: role", role, str, "a text")
    if content is None and message.get("tool_calls"):
      content = ""
    if isinstance(content, list):
      content = "\n".join(
        _text(part, f"{name}: content[{i}]") for i, part in enumerate(content)
      )
    validate.instance(f"{name}: content", content, str, "a text")
    changed = {"content": content}
    if isinstance(calls := message.get("tool_calls"), list):
      changed["tool_calls"] = list(map(_call, calls))
    messages.append({**message, **changed})
  return messages


def _call(call):
  """Returns a tool call whose arguments are an object, as templates expect."""
  function = call.get("function") if isinstance(call, Mapping) else None
  if not isinstance(function, Mapping):
    return call
  try:
    arguments = json.loads(function["arguments"])
  except (KeyError, TypeError, ValueError, RecursionError):
    return call
  if not isinstance(arguments, Mapping):
    return call
  return {**call, "function": {**function, "arguments": arguments}}


def _text(part, name):
  """The text of a part of a content."""
  validate.instance(name, part, Mapping, "an object")
  validate.choice(f"{name}: type", part.get("type"), ("text",))
  return validate.instance(f"{name}: text", part.get("text"), str, "a text")


def _tools(value):
  """Descriptions of tools, whose format the template decides."""
  if value is None or value == []:
    return None
  validate.instance("tools", value, list, "a list of tools")
  for number, tool in enumerate(value):
    validate.instance(f"tools[{number}]", tool, Mapping, "an object")
  return value


def _choice(choice):
  """Returns a choice of an answer, with its message."""
  return {
    "index": choice["index"],
    "message": {"role": "assistant", "content": choice["text"]},
    "logprobs": choice["logprobs"],
    "finish_reason": choice["finish_reason"],
  }


def _delta(choice, is_first):
  """Returns a chunk of a choice; the first one has the role."""
  role = {"role": "assistant"} if is_first else {}
  return {
    "index": choice["index"],
    "delta": {**role, "content": choice["text"]},
    "logprobs": choice["logprobs"],
    "finish_reason": choice["finish_reason"],
  }
