"""Names of the fields of configs, and which one a wrong name may have meant."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import difflib
from typing import Any


def shallow(config: object) -> Any:
  """Returns a dataclass, or a ConfigDict of ml_collections, as a dictionary."""
  if dataclasses.is_dataclass(config):
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
  return config.to_dict() if hasattr(config, "to_dict") else config


def unknown(
  name: str, field: str, known: Iterable[str], value: Mapping[str, object]
) -> str:
  """Returns the message for a field that a config does not have.

  Args:
    name: of the config.
    field: that it does not have.
    known: its fields.
    value: what was given for it, whose inner fields may be meant, too.
  """
  known = sorted(known)
  # A field of fields has its whole path; arms share what stands beside them.
  shared = {key: inner for key, inner in value.items() if key != "arms"}
  places: dict[str, list[str]] = {}
  for path in _inside(shared):
    places.setdefault(path.rpartition(".")[2], []).append(path)
  places |= {key: [key] for key in known}
  close = difflib.get_close_matches(field, places, n=1)
  meant = " or ".join(map(repr, places[close[0]])) if close else ""
  hint = f" (did you mean {meant}?)" if close else ""
  if name == "config" and not close:
    hint = " (does the file belong to another experiment?)"
  listed = ", ".join(known) or "none"
  return f"{name} has no field {field!r}{hint}; its fields are: {listed}"


def _inside(fields: Mapping[str, object]) -> Iterator[str]:
  """Yields dotted paths of what fields hold, but not the fields themselves."""
  for key, value in fields.items():
    value = shallow(value)
    if isinstance(value, Mapping):
      yield from (f"{key}.{name}" for name in (*value, *_inside(value)))
