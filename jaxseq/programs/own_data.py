"""Options of the loaders of your own data, for flags to set.

Each is a field of `config.data_options`; one that is None is not used.
"""

import inspect
import re
import textwrap
import typing

from jaxseq import data

_SHARES = {"valid_fraction": 0.1, "test_fraction": 0.2}


def series(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.series_table.load`."""
  return {
    "path": "data.csv",
    "layout": "long",
    **_open("id", "time", "label", "channels", "ignore", "delimiter", "labels"),
    **_open("split", "group", "valid_path", "test_path", "window"),
    "target": "auto",
    "by_time": False,
    **_SHARES,
    "normalize": True,
    "missing": "refuse",
    "gaps": "channel",
    **options,
  }


def arrays(**options: object) -> dict[str, object]:
  """Returns the options that `npz_series.load` and `ts_series.load` share."""
  return {
    **_SHARES,
    "normalize": True,
    "missing": "refuse",
    **options,
  }


def forecast(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.forecast_windows.load`."""
  return {
    "path": "data.csv",
    **_open("time", "channels", "ignore", "delimiter"),
    **_open("valid_from", "test_from"),
    "steps": "refuse",
    **_SHARES,
    "missing": "refuse",
    **options,
  }


def events(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.sources.events.load`."""
  return {
    "path": "data.csv",
    **_open("time", "stream", "mark", "delimiter", "start", "split", "unit"),
    **_open("horizon", "window"),
    "ties": "refuse",
    "by_time": False,
    **_SHARES,
    **options,
  }


def event_lists(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.sources.events.load_lists`."""
  return {
    "path": "data.json",
    **_open("time", "mark", "stream", "horizon"),
    "ties": "refuse",
    **_SHARES,
    **options,
  }


def text(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.sources.text.load`."""
  return {
    "path": "data.txt",
    "pattern": "**/*",
    "documents": False,
    **_open("tokenizer"),
    "valid_fraction": 0.05,
    "test_fraction": 0.05,
    **options,
  }


def tokens(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.token_text.load`."""
  return {
    "path": "data.bin",
    **_open("tokenizer", "vocab_size", "digest"),
    "documents": False,
    "valid_fraction": 0.05,
    "test_fraction": 0.05,
    **options,
  }


def images(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.sources.images.load`."""
  return {
    "path": "data",
    "order": "row",
    "color": False,
    **_open("height", "width"),
    **_SHARES,
    **options,
  }


def of_loader(name: str) -> dict[str, object]:
  """Returns all options of a set's loader, with their defaults; no seed."""
  options = inspect.signature(data.loader(name)).parameters
  return {
    key: "data.csv" if option.default is option.empty else option.default
    for key, option in options.items()
    if key != "seed"
  }


def described(name: str) -> str:
  """Returns the options of a set's loader, a paragraph each, for a terminal.

  Args:
    name: of the set, such as "graph_table".

  Returns:
    A line for each option with its default, and what its docstring says.
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
          if key != "seed"
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
  """The sentences of a docstring about arguments or attributes, by name."""
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
  """An option and what it is, indented."""
  text = f"{head}: {words}" if words else head
  return textwrap.fill(
    text, 79, initial_indent=" " * 4, subsequent_indent=" " * 8
  )


def _open(*names: str) -> dict[str, object]:
  """Returns options without a value, which take a string."""
  return dict.fromkeys(names)
