"""Chats as tokens, with a mask of the answers' tokens.

  template = chats.read_template("model")  # tokenizer.json and its neighbors
  examples = [
    template.example(chat) for chat in chats.read("messages.jsonl")
  ]
  examples[0].tokens, examples[0].mask

Each line of the file is `{"messages": [{"role": "user", "content": "Hi"},
..]}`, or `{"prompt": .., "completion": ..}` of two texts or two lists of
messages. A network reads the questions and learns to write the answers, with
their end.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any
from typing import Literal
from typing import NamedTuple

import numpy as np

from jaxseq import _json
from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _chat_templates
from jaxseq.data import text_tokens
from jaxseq.data._chat_templates import Message

# The role whose messages are answers.
_ANSWERS = "assistant"

Answers = Literal["all", "last"]


class Chat(NamedTuple):
  """A chat of a file's line.

  Attributes:
    name: the file and the line, for messages.
    prompt: messages that are no targets, whatever their roles, or a text; empty
      if the roles define the targets.
    completion: the messages after them, or a text.
  """

  name: str
  prompt: tuple[Message, ...] | str
  completion: tuple[Message, ...] | str


class Example(NamedTuple):
  """A chat as tokens.

  Attributes:
    text: the chat as its template writes it.
    tokens: (n,) int32.
    mask: (n,) bool, True for the tokens of answers, which are targets.
  """

  text: str
  tokens: np.ndarray
  mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Template:
  """A tokenizer with its chat template.

  Attributes:
    tokenizer: from the package tokenizers, see `text_tokens.read_tokenizer`;
      bytes if None, only for texts.
    template: jinja2 template, as in files of the library transformers.
    special: special tokens by their names, such as `eos_token`.
  """

  tokenizer: Any
  template: str
  special: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def render(
    self,
    messages: Sequence[Message],
    prompts: bool = False,
    name: str = "chat",
    tools: Sequence[Mapping[str, object]] | None = None,
    options: Mapping[str, object] | None = None,
  ) -> str:
    """Returns the text of messages.

    Args:
      messages: messages of a chat, each with a "role" and its "content".
      prompts: whether the text ends where an answer is to begin.
      name: name of the chat in messages.
      tools: descriptions of tools, which most templates write at the start.
      options: further names that the template reads, such as enable_thinking.

    Raises:
      ValueError: if the template rejects the chat, or fails, or an option has
        the name of another argument.
      MissingData: if jinja2 is not installed.
    """
    return self._render(messages, prompts, name, tools, options)[0]

  def encode(
    self,
    messages: Sequence[Message],
    prompts: bool = False,
    name: str = "chat",
    tools: Sequence[Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
  ) -> list[int]:
    """Returns the tokens of messages, see `render`."""
    text = self.render(messages, prompts, name, tools, options)
    return text_tokens.token_ids(self.tokenizer, text, name)

  def example(self, chat: Chat, answers: Answers = "all") -> Example:
    """Returns the tokens of a chat, with a mask of its answers.

    The blocks `{% generation %}` of the template mark the answers if it has
    them. Without them, or for the last answer only, the answer is the rest of
    the text after the chat before it, whose tokens have to be a prefix.

    Args:
      chat: a line of a file.
      answers: which answers are targets; of a prompt with a completion it is
        always the completion.

    Raises:
      ValueError: if there is no answer, the tokens of a question are not a
        prefix of its tokens with the answer, or the template fails.
      MissingData: if a package is not installed.
    """
    validate.choice("answers", answers, ("all", "last"))
    name = chat.name
    if isinstance(chat.completion, str):
      text, ranges, bounds = self._plain(chat)
    else:
      text, ranges, bounds = self._written(chat, answers)
    tokens, spans = text_tokens.token_spans(self.tokenizer, text, name)
    mask = np.zeros(len(tokens), bool)
    # Starts and ends of tokens never decrease.
    begins, stops = np.array(spans, np.int64).reshape(-1, 2).T
    for start, end in ranges:
      first = np.searchsorted(stops, start, "right")
      mask[first : np.searchsorted(begins, end, "left")] = True
    for before, through in bounds:
      start = _beginning(before, tokens, name)
      end = through and _beginning(through, tokens, name)
      mask[start:end] = True
    # The first token has no input before it, so that it is no target.
    if not mask[1:].any():
      raise ValueError(f"{name}: got no token of an answer, expected some.")
    return Example(text, np.array(tokens, np.int32), mask)

  def _plain(self, chat):
    """The joined texts, without a template, and the tokens of the prompt."""
    prompt, text = chat.prompt, chat.prompt + chat.completion
    end = self.special.get("eos_token", "")
    if not text.endswith(end):
      text += end
    before = text_tokens.token_ids(self.tokenizer, prompt, chat.name)
    return text, [], [(before, None)]

  def _written(self, chat, answers):
    """Text, characters of answers, and tokens before and through answers."""
    name, messages = chat.name, (*chat.prompt, *chat.completion)
    if self.tokenizer is None:
      expected = "a tokenizer with a template, or texts instead of messages"
      raise validate.error(f"{name}: tokenizer", None, expected)
    text, ranges = self._render(messages, False, name)
    roles = [message["role"] for message in messages]
    if chat.prompt:
      places, ends = [len(chat.prompt)], [len(messages)]
    elif _ANSWERS not in roles:
      expected = f"one of the role {_ANSWERS!r}"
      raise validate.error(f"{name}: messages", f"the roles {roles}", expected)
    elif answers == "all" and _chat_templates.has_blocks(self.template):
      return text, ranges, []
    else:
      places = [i for i, role in enumerate(roles) if role == _ANSWERS]
      places = places if answers == "all" else places[-1:]
      ends = [place + 1 for place in places]

    def through(end):
      # The text that the template adds after the last message belongs to it.
      if end == len(messages):
        return None
      return self.encode(messages[:end], False, name)

    bounds = [
      (self.encode(messages[:place], True, name), through(end))
      for place, end in zip(places, ends)
    ]
    return text, [], bounds

  def _render(self, messages, prompts, name, tools=None, options=None):
    """Text, and the character ranges of its blocks."""
    return _chat_templates.render(
      self.template, messages, self.special, prompts, name, tools, options
    )


def read(path: str | os.PathLike) -> list[Chat]:
  """Reads the chats of a file, one per line.

  Other fields of a line are ignored; the fields of a message are passed to the
  template.

  Raises:
    ValueError: naming the file and the line, if it is not a chat.
  """
  return [_chat(fields, name) for fields, name in _lines(path)]


def read_pairs(path: str | os.PathLike) -> list[tuple[Chat, Chat]]:
  """Reads pairs of answers to one prompt, the preferred one first.

  Each line of the file is `{"prompt": .., "chosen": .., "rejected": ..}` of
  three texts or three lists of messages.

  Raises:
    ValueError: naming the file and the line, if it is not a pair.
  """
  return [
    (_answer(fields, name, "chosen"), _answer(fields, name, "rejected"))
    for fields, name in _lines(path)
  ]


def _lines(path):
  """The objects of a file's lines, and their names."""
  lines = []
  with open(path, "rb", opener=limits.regular) as file:
    for number, line in enumerate(file, 1):
      if line.strip():
        name = f"{os.fspath(path)}, line {number}"
        lines.append((_fields(line, name), name))
  if not lines:
    raise ValueError(f"{os.fspath(path)}: got no line, expected chats.")
  return lines


def read_template(folder: str | os.PathLike) -> Template:
  """Reads the tokenizer of a folder and its template.

  The template is the file `chat_template.jinja`, or else `chat_template` in
  `tokenizer_config.json`: if that has several, the one named "default".

  Args:
    folder: folder with `tokenizer.json` and `tokenizer_config.json`.

  Raises:
    ValueError: if a file is invalid.
    MissingData: if a package is not installed.
  """
  folder = pathlib.Path(folder)
  place = folder / "tokenizer_config.json"
  config = {}
  if place.exists():
    try:
      config = _json.loads(limits.read_text(place, limits.JSON), long=True)
    except ValueError as error:
      raise ValueError(f"{place} is no JSON: {error}.") from error
  validate.instance(str(place), config, dict, "an object")
  template = config.get("chat_template")
  if (folder / "chat_template.jinja").exists():
    place = folder / "chat_template.jinja"
    template = limits.read_text(place, limits.JSON)
  elif isinstance(template, list):
    named = [each for each in template if isinstance(each, dict)]
    template = {each.get("name"): each.get("template") for each in named}.get(
      "default"
    )
  expected = "a text, the template of chats"
  validate.instance(f"{place}: chat_template", template, str, expected)
  special = {
    name: token.get("content") if isinstance(token, dict) else token
    for name, token in config.items()
    if name.endswith("_token")
  }
  special = {k: token for k, token in special.items() if isinstance(token, str)}
  # Compile the template first, so that errors come early.
  _chat_templates.compiled(template, str(place))
  written = folder / "tokenizer.json"
  tokenizer = text_tokens.read_tokenizer(
    limits.read_text(written, limits.JSON), str(written)
  )
  return Template(tokenizer, template, special)


def _fields(line, name):
  """Parses the JSON object of a line."""
  try:
    fields = _json.loads(line.strip())
  except ValueError as error:
    reason = " ".join(str(error).split()).replace("line 1 column", "column")
    raise ValueError(f"{name}: it is no JSON: {reason}.") from None
  validate.instance(name, fields, dict, "an object")
  return fields


def _chat(fields, name):
  """The chat of a line."""
  if "messages" in fields:
    return Chat(name, (), _messages(fields["messages"], f"{name}: messages"))
  return _answer(fields, name, "completion", "'messages', or ")


def _answer(fields, name, key, otherwise=""):
  """The chat of a line with a prompt and an answer in the field `key`."""
  if not {"prompt", key} <= set(fields):
    expected = f"{otherwise}'prompt' and {key!r}"
    raise validate.error(f"{name}: fields", sorted(fields), expected)
  prompt = fields["prompt"]
  read_as = _text if isinstance(prompt, str) else _messages
  return Chat(
    name,
    read_as(prompt, f"{name}: prompt"),
    read_as(fields[key], f"{name}: {key}"),
  )


def _messages(values, name):
  """Checks that messages have a role and a content."""
  validate.instance(name, values, list, "a list of messages")
  if not values:
    raise validate.error(name, values, "at least one message")
  for number, message in enumerate(values):
    place = f"{name}[{number}]"
    validate.instance(place, message, dict, "an object")
    for field in ("role", "content"):
      _text(message.get(field), f"{place}: {field}")
  return tuple(values)


def _text(value, name):
  """Checks that a text can be encoded: JSON may contain lone surrogates."""
  validate.instance(name, value, str, "a text")
  try:
    value.encode()
  except UnicodeEncodeError as error:
    half = value[error.start]
    raise validate.error(name, half, "whole characters") from None
  return value


def _beginning(start, tokens, name):
  """The number of tokens of a prefix; raises if it is not one."""
  pairs = zip(start, tokens)
  place = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
  if place is None and len(start) > len(tokens):
    place = len(tokens)
  if place is None:
    return len(start)
  got = tokens[place] if place < len(tokens) else "no token"
  raise ValueError(
    f"{name}: token {place} of the chat: got {got}, expected {start[place]} as "
    "in the chat up to an answer, which has to be its beginning."
  )
