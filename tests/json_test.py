"""JSON that anyone may have written: a value within bounds, or a ValueError."""

import json

import pytest

from jaxseq import _json


def test_values_are_those_of_the_standard_library():
  for value in (
    {"a": [1, -2.5, None, True, "x"], "b": {}},
    [],
    "text",
    2**64 - 1,
    -(2**63),
    1.7e308,
    [[[{"deep": [1]}]]],
  ):
    text = json.dumps(value)
    assert _json.loads(text) == value
    assert _json.loads(text.encode()) == value


def nested(depth):
  return "[" * depth + "]" * depth


def test_depth_is_bounded():
  assert _json.loads(nested(64)) is not None
  deep = "nested more than 64 deep"
  for text in (
    nested(65),
    nested(200_000),
    "[" * 200_000,
    '{"a":' * 100_000,
    '[{"a":' * 40 + "0" + "}]" * 40,
  ):
    with pytest.raises(ValueError, match=deep):
      _json.loads(text)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("NaN", "NaN is no number"),
    ('{"a": -Infinity}', "-Infinity is no number"),
    ("1e999", "1e999 is beyond"),
    ("[-1e999]", "-1e999 is beyond"),
    (str(2**64), "18446744073709551616 is beyond"),
    (str(-(2**63) - 1), "-9223372036854775809 is beyond"),
    ("9" * 10_000, "9999 is beyond"),
    ('{"a": 1, "b": {"c": 1, "c": 2}}', "the name 'c' twice"),
    ("{", "Expecting property name"),
    ("", "Expecting value"),
    (b"\xff\xfe\xfd", "codec"),
  ],
)
def test_what_is_no_value_is_refused(text, message):
  with pytest.raises(ValueError, match=message):
    _json.loads(text)


def test_long_integers_are_read_where_they_are_allowed():
  assert _json.loads("[1" + "0" * 99 + "]", long=True) == [10**99]
  with pytest.raises(ValueError, match="4300"):
    _json.loads("9" * 10_000, long=True)


def test_constants_are_read_where_they_are_allowed():
  assert _json.loads("[Infinity]", constants=True) == [float("inf")]
  assert str(_json.loads("NaN", constants=True)) == "nan"
  # Not a constant but a number that is too large.
  with pytest.raises(ValueError, match="beyond"):
    _json.loads("1e999", constants=True)
