"""Names of arms whose mixer a command line has changed."""

from collections.abc import Iterator
from collections.abc import Mapping
import pathlib
from typing import Any

from absl import logging

from jaxseq.training.comparison import _resumed_config


def renamed(
  before: Mapping[str, Any], after: Mapping[str, Any], directory: pathlib.Path
) -> Mapping[str, Any]:
  """Returns a config in which no arm has the name of a mixer it had before.

  An arm "gru" or "gru-4" of mixer "gru" that gets the mixer "lstm" becomes
  "lstm" or "lstm-4", so that tables, pictures and directories name what was
  trained. One that the run in the directory has under its old name keeps it.

  Args:
    before: fields of the config file.
    after: those with what the command line changes.
    directory: of the run, which may not be there.
  """
  old, new = before.get("arms"), after.get("arms")
  if not isinstance(old, Mapping) or not isinstance(new, Mapping):
    return after
  saved, arms = _resumed_config.config_of(directory).get("arms", {}), {}
  for name, fields in new.items():
    mixers = set(_mixers(old.get(name))), set(_mixers(fields))
    label = _label(name, *mixers)
    if label in new:
      label = f"{name}-{label}"
    if label and name not in saved:
      logging.warning("The arm %r is called %r, by its mixer.", name, label)
      name = label
    arms[name] = fields
  return {**after, "arms": arms}


def _label(name, old, new):
  """The name by the mixer that an arm gets; "" if it can keep its own."""
  if len(old) != 1 or len(new) != 1 or old == new:
    return ""
  (mixer,), (replacement,) = old, new
  rest = name.removeprefix(mixer)
  named = name.startswith(mixer) and (not rest or rest[0] in "-_.")
  return f"{replacement}{rest}" if named else ""


def _mixers(fields: Any) -> Iterator[str]:
  """Yields all values of fields of the name `mixer`."""
  if isinstance(fields, Mapping):
    for name, value in fields.items():
      if name == "mixer" and isinstance(value, str):
        yield value
      yield from _mixers(value)
  elif isinstance(fields, list | tuple):
    for value in fields:
      yield from _mixers(value)
