"""Chats as text, by the templates that tokenizers' files hold.

Templates are programs that others wrote: the package jinja2 runs them in its
sandbox alone, where they reach no attribute of Python's own and change nothing,
and take no more time and memory than `_template_sandbox` allows.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import functools
import hashlib
import json
import re
from typing import Any

from jaxseq import _validate
from jaxseq.data import _template_costs
from jaxseq.data import packages

# Characters of a template; those of published models have 30,000 at most.
_LARGEST = 2**18
# Units of time and memory for any chat, and for each that it takes itself to be
# read once, see `_template_costs`: some seconds and 256 MiB.
_FREE, _RATIO = 2**20, 32
# A template says so which parts of its text a network has written.
_BLOCK = re.compile(r"\{%[-+]?\s*generation\b")

Message = Mapping[str, Any]


def has_blocks(template: str) -> bool:
  """Returns whether a template says which of its text are answers."""
  return _BLOCK.search(template) is not None


def compiled(template: str, name: str) -> Any:
  """Returns a template as a program of the sandbox.

  Args:
    template: the template.
    name: what to call its owner in messages.

  Raises:
    ValueError: if it is none.
    MissingData: if jinja2 is not installed.
  """
  _sandbox()  # The package is there, or the error says so.
  if len(template) > _LARGEST:
    got = f"{len(template)} characters"
    expected = f"at most {_LARGEST}"
    raise _validate.error(f"{name}: the chat template", got, expected)
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
  tools: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[str, list[tuple[int, int]]]:
  """Returns the text of a chat, and the characters that are answers.

  Args:
    template: the template.
    messages: of the chat.
    special: special tokens by their names, such as `eos_token`.
    prompts: whether the text ends where an answer is to begin.
    name: of the chat, for messages.
    tools: that the template may describe.

  Returns:
    The text, and pairs of the first character of a `generation` block and the
    one after its last.

  Raises:
    ValueError: if the template is none, refuses the chat, or fails with it.
    MissingData: if jinja2 is not installed.
  """
  program = compiled(template, name)
  # No message can hold what is made of all of them.
  written = json.dumps([dict(message) for message in messages])
  mark = "\0" + hashlib.sha256(written.encode()).hexdigest()
  sandbox = _sandbox()
  read = [*messages, *(tools or ())]
  units = _FREE + _RATIO * _template_costs.of(read)
  try:
    with sandbox.budget(units):
      text = program.render(
        **special,
        messages=messages,
        add_generation_prompt=prompts,
        tools=tools,
        **{sandbox.MARK: mark},
      )
  except Exception as error:  # Whatever others' code raises.
    reason = f"the chat template fails with it: {_sentence(error)}."
    raise ValueError(f"{name}: {reason}") from None
  return _ranges(text, mark)


def _sentence(error):
  """The message of an error on one line, without its end."""
  text = " ".join(str(error).split())[:200]
  return (text or type(error).__name__).rstrip(".")


def _ranges(text, mark):
  """A text without marks, and the places between them."""
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
  """A template as a program of the sandbox."""
  return _sandbox().compiled(template)


def _sandbox():
  """The module of the sandbox, which imports jinja2."""
  what = "templates of chats are run by jinja2"
  module = "jaxseq.data._template_sandbox"
  return packages.imported(module, "jaxseq[chats]", what)
