"""Checks of arguments, and the one form of their messages."""

import dataclasses
import math
import re
from typing import Literal

import numpy as np
import pytest

from jaxseq import validate


@pytest.mark.parametrize("value", [1, 7, np.int32(3)])
def test_integers_pass(value):
  assert validate.integer("n", value, 1, 7) == value


@pytest.mark.parametrize("value", [0, 8, True, 2.0, "3", None])
def test_other_integers_are_named(value):
  with pytest.raises(
    ValueError, match="^n: got .*, expected an integer from 1"
  ):
    validate.integer("n", value, 1, 7)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1, False, "0"])
def test_other_numbers_are_named(value):
  with pytest.raises(ValueError, match="^p: got .* finite number from 0 to 1"):
    validate.number("p", value, 0, 1)


def test_choice_lists_what_exists():
  assert validate.choice("norm", "rms", ("none", "rms")) == "rms"
  message = (
    r"^norm: got 'rsm', expected one of 'none', 'rms' \(did you mean rms"
  )
  with pytest.raises(ValueError, match=message):
    validate.choice("norm", "rsm", ("none", "rms"))


def test_choice_of_very_many_suggests_the_nearest():
  titles = [f"film {i}" for i in range(4000)]
  with pytest.raises(ValueError) as caught:
    validate.choice("item", "flim 17", titles)
  message = str(caught.value)
  assert message.startswith("item: got 'flim 17', expected one of 4,000, the ")
  assert "film 17, " in message
  assert len(message) < 150


def test_shapes_are_shown_as_they_are():
  error = validate.error("x", "shape (3,)", "shape (4,)")
  assert str(error) == "x: got shape (3,), expected shape (4,)."


@pytest.mark.parametrize(
  ("got", "expected"),
  [
    ((2, 3), (2, 3)),
    ((2, 3), (2, "n")),
    ((3,), ("*batch", 3)),
    ((0, 5, 4, 3), ("*batch", "time", 3)),
    ((), ()),
  ],
)
def test_shapes(got, expected):
  assert validate.shape("x", np.zeros(got), expected) == got


@pytest.mark.parametrize(
  ("got", "expected", "message"),
  [
    ((2, 3), (2, 4), r"\(2, 4\)"),
    ((2,), (3,), r"\(3,\)"),
    ((), ("*batch", "n"), r"\(\*batch, n\)"),
    ((1, 2), ("n",), r"\(n,\)"),
    ((2, 0), ("*batch", "n"), r"\(\*batch, n\) with at least one element"),
    ((2, 4), ("*batch", "time", 3), r"\(\*batch, time, 3\)"),
  ],
)
def test_other_shapes_are_named(got, expected, message):
  shape = re.escape(str(got))
  with pytest.raises(
    ValueError, match=rf"^x: got shape {shape}, expected {message}\.$"
  ):
    validate.shape("x", np.zeros(got), expected)


@dataclasses.dataclass(frozen=True)
class _Config:
  width: int = 1
  rate: float = 0.0
  share: float = 1.0
  kind: Literal["a", "b"] = "a"

  def __post_init__(self):
    validate.fields(
      self, positive=["width"], not_negative=["rate"], shares=["share"]
    )
    validate.literals(self)


@pytest.mark.parametrize(
  ("field", "value"), [("width", 0), ("rate", -1), ("share", 2), ("kind", "c")]
)
def test_fields_are_checked_under_their_names(field, value):
  _Config()
  with pytest.raises(ValueError, match=f"^{field}: got {value!r}, expected "):
    _Config(**{field: value})


def test_expressions_that_cannot_be_compiled_are_refused():
  assert validate.expression("name", "(a+)+$") == "(a+)+$"
  for wrong in ("(a", "a{99999999999}", "(" * 5000 + "a" + ")" * 5000):
    with pytest.raises(
      ValueError, match="name: got .* expected a regular expr"
    ):
      validate.expression("name", wrong)
