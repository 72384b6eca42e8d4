"""Loader options for the user's own data, which flags can set.

Each is a field of `config.data_options`; None means not used.
"""

import inspect
import re
import textwrap
import typing

from jaxseq import data

# Shared loader options for which configs have their own fields.
_OF_CONFIGS = ("seed", "input_length", "horizon")
# Options that `npz_series.load` and `ts_series.load` share.
SERIES = {
  "valid_fraction": 0.1,
  "test_fraction": 0.2,
  "normalize": True,
  "missing": "refuse",
}


def of_loader(name: str, **options: object) -> dict[str, object]:
  """Returns a loader's options with their defaults, without the seed.

  Args:
    name: name of the data set, such as "table".
    **options: values that replace defaults, and options that several loaders
      share.
  """
  defaults = {
    key: "data.csv" if option.default is option.empty else option.default
    for key, option in inspect.signature(data.loader(name)).parameters.items()
    if key != "seed" and option.kind is not option.VAR_KEYWORD
  }
  return defaults | options


def text() -> dict[str, object]:
  """Returns the loader options of a text, without `repeats`."""
  options = of_loader("text_files", path="data.txt")
  del options["repeats"]
  return options


def described(name: str) -> str:
  """Describes a loader's options, a paragraph each, for a terminal.

  Args:
    name: name of the data set, such as "graph_table".

  Returns:
    A paragraph for each option with its default and its description.
  """
  function = data.loader(name)
  words, lines = _arguments(function), []
  for option in inspect.signature(function).parameters.values():
    if option.kind is option.VAR_KEYWORD:
      for shared in typing.get_args(option.annotation):
        entries = _arguments(shared)
        lines += [
          _paragraph(key, entries.get(key, ""))
          for key in shared.__annotations__
          if key not in _OF_CONFIGS
        ]
      continue
    if option.name == "seed":  # The config has one.
      continue
    head = option.name
    if option.default is not option.empty:
      head = f"{head}={option.default}"
    lines.append(_paragraph(head, words.get(option.name, "")))
  return "\n".join(lines)


def _arguments(thing):
  """Returns a docstring's descriptions of arguments or attributes, by name."""
  section = re.search(
    r"^(?:Args|Attributes):\n(.*?)(?=^\S|\Z)",
    inspect.getdoc(thing) or "",
    re.M | re.S,
  )
  entries = re.findall(
    r"^  (\w+): (.*?)(?=^  [\w*]|\Z)",
    section[1] if section else "",
    re.M | re.S,
  )
  return {name: " ".join(words.split()) for name, words in entries}


def _paragraph(head, words):
  """Returns an option and its description, indented."""
  text = f"{head}: {words}" if words else head
  return textwrap.fill(
    text, 79, initial_indent=" " * 4, subsequent_indent=" " * 8
  )
