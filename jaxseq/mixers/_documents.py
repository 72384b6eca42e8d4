"""Docstrings of the functions and configurations of all mixers."""

from collections.abc import Callable
import inspect
import re
from typing import Any

_FIELDS = "\n\nAttributes:\n"


def with_fields(kind: type) -> str:
  """Returns a class's docstring with the fields of its bases above its own."""
  title, _, _ = inspect.cleandoc(kind.__doc__ or "").partition(_FIELDS)
  entries = {}
  for one in (*reversed(kind.__bases__), kind):
    _, _, text = inspect.cleandoc(one.__doc__ or "").partition(_FIELDS)
    for entry in re.split(r"^  (?=\w+:)", text, flags=re.MULTILINE)[1:]:
      name = entry.partition(":")[0]
      entries[name] = f"  {entry.rstrip()}\n"
  return title + _FIELDS + "".join(entries.values())


INIT = """\
Args:
  key: random key.
  config: options.

Returns:
"""

INITIAL_STATE = """
Args:
  config: options.
  batch_shape: leading axes.
  dtype: real dtype of the state, float32 if it is narrower; complex states take
    the complex dtype of the same precision.
{options}
Returns:
  The state.

Raises:
  ValueError: if batch_shape or dtype is not of that kind.
"""

APPLY = """
Args:
  config: options.
  params: from `init`.
  x: (*batch, time, d_model), floating.
  state: state before the first element; a fresh one if None.
  reset: (*batch, time) bool; where true the state is that of a fresh sequence
    before the element is consumed.
  axis: name of the mesh axis over which time is split, inside `jax.shard_map`:
    x and reset are this device's chunk, the states those before and after the
    whole sequence, the same on every device.
{options}
Returns:
  y of x's shape and dtype, and the state after the last element, float32 or
  wider.

Raises:
  ValueError: if an argument does not fit the above.
"""

STEP = """
Args:
  config: options.
  params: from `init`.
  x: (*batch, d_model), floating.
  state: state before the element.
  reset: (*batch,) bool; where true the state is that of a fresh sequence first.
{options}
Returns:
  y of x's shape and dtype, and the state after the element.

Raises:
  ValueError: if an argument does not fit the above.
"""


# For an `initial_state` whose fresh states are learned.
LEARNED = "Options:\n  params: from `init`; needed, as the state is of them.\n"


def complete(function: Callable[..., Any], common: str) -> None:
  """Completes a docstring; "Options:" are those beyond the contract's."""
  head, _, options = (inspect.getdoc(function) or "").partition("Options:\n")
  options = options.rstrip() + "\n" if options else ""
  if "{options}" in common:
    common = common.replace("{options}\n", options + "\n")
  function.__doc__ = head.rstrip() + "\n" + common
