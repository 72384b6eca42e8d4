"""Formats of answers as regular expressions: JSON, and schemas of it."""

from collections.abc import Mapping
import json
import re
from typing import Any

from jaxseq import validate

_SPACE = "[ ]?"
_CHARACTER = (
  r'([^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})'  # Of a string.
)
_INTEGER = r"-?(0|[1-9]\d*)"
_NUMBER = rf"{_INTEGER}(\.\d+)?([eE][+-]?\d+)?"
# Maximum depth of objects and arrays without a schema, and of nested schemas.
_NESTED, _DEEPEST = 2, 16
_KINDS = ("string", "number", "integer", "boolean", "null", "array", "object")
# Entries that do not restrict values.
_NOTES = (
  *("$schema", "$id", "$defs", "definitions", "title", "description"),
  *("default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"),
)
# Entries by the type of the values that they restrict.
_OF_KINDS = {
  "string": ("minLength", "maxLength"),
  "array": ("items", "minItems", "maxItems"),
  "object": ("properties", "required", "additionalProperties"),
}
# Maximum length of a text before it is compiled.
_LONGEST = 2**17


def pattern(response_format: Any) -> str | None:
  """Returns the regular expression of a `response_format`; None for any text.

  Args:
    response_format: {"type": "text"}, {"type": "json_object"}, or {"type":
      "json_schema", "json_schema": {"schema": ..}}.

  Raises:
    ValueError: if it is not such an object, or the schema has an unsupported
      entry.
  """
  name = "response_format"
  validate.instance(name, response_format, Mapping, "an object")
  kinds = ("text", "json_object", "json_schema")
  kind = validate.choice(f"{name}: type", response_format.get("type"), kinds)
  if kind == "text":
    return None
  if kind == "json_object":
    return _any_object(_NESTED)
  outer = response_format.get("json_schema")
  validate.instance(f"{name}: json_schema", outer, Mapping, "an object")
  name, schema = f"{name}: schema", outer.get("schema")
  text = _Schema(name, schema).value(schema, name, 0)
  if len(text) > _LONGEST:
    raise validate.error(name, "too many parts", "a smaller schema")
  return text


def _list(begin, item, end):
  """Any number of items between brackets, with commas."""
  comma = f"{_SPACE},{_SPACE}"
  return f"{begin}{_SPACE}({item}({comma}{item})*)?{_SPACE}{end}"


def _any_object(depth):
  """Returns the pattern of an object with any names."""
  return _named(_any(depth))


def _named(value):
  """Returns the pattern of an object with any names and such values."""
  pair = f'"{_CHARACTER}*"{_SPACE}:{_SPACE}{value}'
  return _list(r"\{", pair, r"\}")


def _any(depth):
  """Returns the pattern of any value, with objects and arrays up to a depth."""
  forms = [f'"{_CHARACTER}*"', _NUMBER, "true|false|null"]
  if depth:
    forms.append(_any_object(depth - 1))
    forms.append(_list(r"\[", _any(depth - 1), r"\]"))
  return f"({'|'.join(forms)})"


def _literal(value):
  """Returns the pattern of one value."""
  return re.escape(json.dumps(value, ensure_ascii=False))


class _Schema:
  """A schema, whose parts may refer to each other."""

  def __init__(self, name: str, root: Any):
    self._name = name
    self._root = root

  def value(self, schema: Any, name: str, depth: int) -> str:
    """Returns the expression of the values that a schema permits."""
    if schema is True:
      return _any(_NESTED)
    validate.instance(name, schema, Mapping, "an object")
    if depth > _DEEPEST:
      expected = f"at most {_DEEPEST}, and none inside of itself"
      raise validate.error(name, "more schemas in each other", expected)
    if "$ref" in schema:
      self._check(schema, name, ("$ref",))
      return self.value(self._found(schema["$ref"], name), name, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
      if key in schema:
        self._check(schema, name, (key,))
        return self._choice(key, schema[key], name, depth)
    if "const" in schema:
      self._check(schema, name, ("const", "type"))
      return _literal(schema["const"])
    if "enum" in schema:
      self._check(schema, name, ("enum", "type"))
      values = schema["enum"]
      if not isinstance(values, list) or not values:
        raise validate.error(f"{name}: enum", values, "a list of values")
      return f"({'|'.join(map(_literal, values))})"
    default = "object" if "properties" in schema else None
    kinds = schema.get("type", default)
    if kinds is None:
      self._check(schema, name, ())
      return _any(_NESTED)
    kinds = kinds if isinstance(kinds, list) else [kinds]
    known = [entry for kind in kinds for entry in _OF_KINDS.get(kind, ())]
    self._check(schema, name, ("type", *known))
    forms = [self._kind(kind, schema, name, depth) for kind in kinds]
    return f"({'|'.join(forms)})"

  def _check(self, schema, name, known):
    """Rejects unsupported entries."""
    for key in schema.keys() - {*known, *_NOTES}:
      expected = f"of such a schema {sorted(known)} alone"
      raise validate.error(name, key, expected)

  def _choice(self, key, schemas, name, depth):
    """Returns the pattern of one of several schemas; of "allOf" only one."""
    if not isinstance(schemas, list) or not schemas:
      raise validate.error(f"{name}: {key}", schemas, "a list of schemas")
    if key == "allOf" and len(schemas) > 1:
      raise validate.error(f"{name}: {key}", f"{len(schemas)} schemas", "one")
    forms = [self.value(each, name, depth + 1) for each in schemas]
    return f"({'|'.join(forms)})"

  def _found(self, place, name):
    """Returns the part of the schema that a reference names."""
    found = self._root
    if not isinstance(place, str) or not place.startswith("#"):
      raise validate.error(f"{name}: $ref", place, "'#/$defs/NAME'")
    for key in place.removeprefix("#").split("/")[1:]:
      key = key.replace("~1", "/").replace("~0", "~")
      if not isinstance(found, Mapping) or key not in found:
        raise validate.error(f"{name}: $ref", place, "a part of the schema")
      found = found[key]
    return found

  def _kind(self, kind, schema, name, depth):
    """Returns the pattern of the values of one type."""
    validate.choice(f"{name}: type", kind, _KINDS)
    if kind == "array":
      count = self._count(schema, name, "Items")
      items = schema.get("items", True)
      return _counted(self.value(items, f"{name}.items", depth + 1), *count)
    if kind == "object":
      return self._object(schema, name, depth)
    if kind == "string":
      low, high = self._count(schema, name, "Length")
      return f'"{_CHARACTER}{_times(low, high)}"'
    plain = {
      "number": _NUMBER,
      "integer": _INTEGER,
      "boolean": "true|false",
      "null": "null",
    }
    return f"({plain[kind]})"

  def _count(self, schema, name, ending):
    """Returns the minimum and the maximum number of parts."""
    low, high = schema.get(f"min{ending}", 0), schema.get(f"max{ending}")
    validate.integer(f"{name}: min{ending}", low, 0, 10_000)
    if high is not None:
      validate.integer(f"{name}: max{ending}", high, low, 10_000)
    return low, high

  def _object(self, schema, name, depth):
    """Returns the pattern of an object with its properties in their order."""
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    validate.instance(f"{name}: properties", properties, Mapping, "an object")
    validate.instance(f"{name}: required", required, list, "a list of names")
    lost = [each for each in required if each not in properties]
    if lost:
      raise validate.error(f"{name}: required", lost[0], "names of properties")
    if not properties:
      values = schema.get("additionalProperties", True)
      if values is False:
        return rf"\{{{_SPACE}\}}"
      inner = f"{name}.additionalProperties"
      return _named(self.value(values, inner, depth + 1))
    pairs = [
      (
        f"{_literal(key)}{_SPACE}:{_SPACE}"
        f"{self.value(each, f'{name}.{key}', depth + 1)}",
        key in required,
      )
      for key, each in properties.items()
    ]
    return rf"\{{{_SPACE}{_some(pairs)}{_SPACE}\}}"


def _times(low, high):
  """Returns the quantifier of a number of parts."""
  if high is None:
    return "*" if low == 0 else f"{{{low},}}"
  return f"{{{low},{high}}}"


def _counted(item, low, high):
  """Returns the pattern of an array of that many items."""
  if high == 0:
    return rf"\[{_SPACE}\]"
  more = _times(max(low - 1, 0), high and high - 1)
  rest = f"({_SPACE},{_SPACE}{item}){more}"
  inner = f"{item}{rest}" if low else f"({item}{rest})?"
  return rf"\[{_SPACE}{inner}{_SPACE}\]"


def _some(pairs):
  """Returns the required pairs and any others, in their order, with commas."""
  comma = f"{_SPACE},{_SPACE}"
  after, forms = "", []
  # From the last one: the pairs that may follow, and those that may be first.
  for text, needed in reversed(pairs):
    if needed:
      forms = [f"{text}{after}"]
    else:
      forms.append(f"{text}{after}")
    after = f"{comma}{text}{after}" if needed else f"({comma}{text})?{after}"
  whole = f"({'|'.join(forms)})"
  return whole if any(needed for _, needed in pairs) else f"{whole}?"
