"""Renders chats as text by the chat templates of tokenizer files.

Templates are untrusted programs: the package jinja2 runs them only in its
sandbox, in which they access no internal attribute of Python and change
nothing, within the time and memory that `_template_sandbox` allows.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import functools
import hashlib
import json
import re
from typing import Any

from jaxseq import validate
from jaxseq.data import _template_costs
from jaxseq.data import packages

# Most characters of a template; published models have 30,000 at most.
_LARGEST = 2**18
# Units of time and memory for any chat, and per unit that reading it once
# costs, see `_template_costs`: some seconds and 256 MiB.
_FREE, _RATIO = 2**20, 32
# Marks the parts of a template's text that are the network's answers.
_BLOCK = re.compile(r"\{%[-+]?\s*generation\b")

Message = Mapping[str, Any]


def has_blocks(template: str) -> bool:
  """Returns whether a template marks the answers in its text."""
  return _BLOCK.search(template) is not None


def compiled(template: str, name: str) -> Any:
  """Compiles a template for the sandbox.

  Args:
    template: the template.
    name: its owner's name in messages.

  Raises:
    ValueError: if it is not a valid template.
    MissingData: if jinja2 is not installed.
  """
  _sandbox()  # Raises MissingData without the package.
  if len(template) > _LARGEST:
    got = f"{len(template)} characters"
    expected = f"at most {_LARGEST}"
    raise validate.error(f"{name}: the chat template", got, expected)
  try:
    return _compiled(template)
  except Exception as error:  # Python's own, too: a break outside of a loop.
    reason = f"the chat template is none: {_sentence(error)}."
    raise ValueError(f"{name}: {reason}") from None


def render(
  template: str,
  messages: Sequence[Message],
  special: Mapping[str, str],
  prompts: bool,
  name: str,
  tools: Sequence[Mapping[str, object]] | None = None,
  options: Mapping[str, object] | None = None,
) -> tuple[str, list[tuple[int, int]]]:
  """Returns the text of a chat, and the character ranges of its answers.

  Args:
    template: the template.
    messages: the chat's messages.
    special: special tokens by their names, such as `eos_token`.
    prompts: whether the text ends where an answer is to begin.
    name: the chat's name in messages.
    tools: tools that the template may describe.
    options: further names that the template reads.

  Returns:
    The text, and pairs of the first character of a `generation` block and the
    one after its last.

  Raises:
    ValueError: if the template is invalid, rejects the chat, or fails, or an
      option has the name of another argument.
    MissingData: if jinja2 is not installed.
  """
  program = compiled(template, name)
  # No message can contain a digest of all of them.
  written = json.dumps([dict(message) for message in messages])
  mark = "\0" + hashlib.sha256(written.encode()).hexdigest()
  sandbox = _sandbox()
  options = options or {}
  given = {
    "messages": messages,
    "add_generation_prompt": prompts,
    "tools": tools,
    sandbox.MARK: mark,
  }
  if taken := sorted(given.keys() & options.keys()):
    expected = "none of the names that every template gets"
    raise validate.error(f"{name}: chat_template_kwargs", taken[0], expected)
  read = [*messages, *(tools or ()), options]
  units = _FREE + _RATIO * _template_costs.of(read)
  try:
    with sandbox.budget(units):
      text = program.render({**special, **options, **given})
  except Exception as error:  # The template's code may raise anything.
    reason = f"the chat template fails with it: {_sentence(error)}."
    raise ValueError(f"{name}: {reason}") from None
  return _ranges(text, mark)


def _sentence(error):
  """The message of an error on one line, without its final period."""
  text = " ".join(str(error).split())[:200]
  return (text or type(error).__name__).rstrip(".")


def _ranges(text, mark):
  """The text without marks, and the ranges between them."""
  pieces, ranges, depth, size = [], [], 0, 0
  for piece in re.split(f"({mark}[<>])", text):
    if not piece.startswith(mark):
      pieces.append(piece)
      size += len(piece)
    elif piece.endswith("<"):
      depth += 1
      if depth == 1:
        ranges.append((size, size))
    else:
      depth -= 1
      if depth == 0:
        ranges[-1] = (ranges[-1][0], size)
  return "".join(pieces), ranges


@functools.lru_cache(maxsize=16)
def _compiled(template):
  """Compiles a template for the sandbox, with a cache."""
  return _sandbox().compiled(template)


def _sandbox():
  """Imports the sandbox module, which needs jinja2."""
  reason = "templates of chats are run by jinja2"
  module = "jaxseq.data._template_sandbox"
  return packages.imported(module, "jaxseq[chats]", reason)
