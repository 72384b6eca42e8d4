"""JSON of files that anyone may have written: a value, or a ValueError."""

import json
from typing import Any

# Far more than any file that is read here needs.
_DEPTH = 64
# What NumPy's integers hold.
_LOWEST, _ABOVE = -(2**63), 2**64


def loads(
  text: str | bytes, *, constants: bool = False, long: bool = False
) -> Any:
  """Reads JSON within bounds that are known beforehand.

  Args:
    text: the JSON text.
    constants: whether NaN, Infinity and -Infinity, which JSON has not but some
      libraries write, are read as floats.
    long: whether integers may be longer than 64 bits, up to the 4300 digits
      that Python reads.

  Returns:
    The value: of dicts with a name once only, lists, strings, finite floats,
    integers, booleans and None.

  Raises:
    ValueError: if the text is no JSON, nested more than 64 deep, or holds a
      name twice in an object, a number beyond the range of its kind or, unless
      they are allowed, one of the three constants.
  """

  def constant(word):
    if not constants:
      raise ValueError(f"{word} is no number of JSON")
    return float(word)

  if isinstance(text, bytes):
    # Python would take UTF-16 and UTF-32 as well.
    text = text.decode("utf-8-sig")
  try:
    value = json.loads(
      text,
      object_pairs_hook=_object,
      parse_constant=constant,
      parse_float=_float,
      parse_int=int if long else _int,
    )
  except RecursionError:
    raise ValueError(f"it is nested more than {_DEPTH} deep") from None
  level = [value]
  for _ in range(_DEPTH + 1):
    level = [whole for whole in level if isinstance(whole, dict | list)]
    if not level:
      return value
    level = [part for whole in level for part in _parts(whole)]
  raise ValueError(f"it is nested more than {_DEPTH} deep")


def _object(pairs):
  result = dict(pairs)
  if len(result) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in result if names.count(name) > 1)
    raise ValueError(f"it holds the name {twice[:80]!r} twice")
  return result


def _float(word):
  value = float(word)
  if abs(value) == float("inf"):
    raise ValueError(f"the number {word[:40]} is beyond those of 64 bits")
  return value


def _int(word):
  # Python itself refuses to read integers of thousands of digits.
  value = int(word) if len(word) < 40 else _ABOVE
  if not _LOWEST <= value < _ABOVE:
    raise ValueError(f"the number {word[:40]} is beyond those of 64 bits")
  return value


def _parts(value):
  return value.values() if isinstance(value, dict) else value
