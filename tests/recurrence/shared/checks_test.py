"""Shapes that are said in a line."""

import numpy as np
import pytest

from jaxseq.recurrence.shared import _checks

LINE = (
  "v: *batch time dv; k: *batch time dk; decay?: *batch time dk|1; gate: any"
  " ...; init?: m *batch dk, w *batch dk dv"
)


def _arrays(**changes):
  shapes = {"v": (2, 5, 4), "k": (2, 5, 3), "decay": (2, 5, 1), "gate": (7,)}
  arrays = {name: np.ones(shape) for name, shape in shapes.items()}
  return arrays | {"init": (np.ones((2, 3)), np.ones((2, 3, 4)))} | changes


def _of_one_element(arrays):
  timed = {name: arrays[name][:, 0] for name in ("v", "k", "decay")}
  return arrays | timed


@pytest.mark.parametrize("changes", [{}, {"decay": None}, {"init": None}])
def test_words_have_one_size_everywhere(changes):
  sizes = _checks.arguments(LINE, _arrays(**changes))
  assert sizes == {"*batch": (2,), "time": 5, "dv": 4, "dk": 3}
  assert _checks.shapes(LINE, "init", sizes) == [(2, 3), (2, 3, 4)]
  assert _checks.of_rows(LINE) == ["v", "k", "decay", "init"]


def test_a_step_has_no_time():
  sizes = _checks.arguments(LINE, _of_one_element(_arrays()), time=False)
  assert sizes == {"*batch": (2,), "dv": 4, "dk": 3}
  without = _of_one_element(_arrays(init=None))
  with pytest.raises(ValueError, match=r"state: got \[\], expected \(m, w\)"):
    _checks.arguments(LINE, without, time=False)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"v": np.ones(4)}, r"v: got shape .*, expected \(\*batch, time, dv\)"),
    ({"v": np.ones((2, 5, 4), int)}, "v: got dtype int32, expected a floating"),
    ({"v": None}, r"v: got shape \(\), expected"),
    ({"k": np.ones((2, 6, 3))}, r"k: got shape .*, expected \(2, 5, dk\)"),
    (
      {"decay": np.ones((2, 5, 2))},
      r"decay: got shape .*, expected \(2, 5, 3\) or \(2, 5, 1\)\.",
    ),
    ({"gate": None}, "gate: got None, expected an array"),
    (
      {"init": (np.ones((2, 3)), np.ones((2, 3, 3)))},
      r"init: got .*, expected \(m, w\) of shapes \(2, 3\), \(2, 3, 4\)",
    ),
    (
      {"init": (np.ones((2, 3)), np.ones((2, 3, 4), int))},
      "init.w: got dtype int32, expected a floating",
    ),
  ],
)
def test_what_does_not_fit_is_said(changes, message):
  with pytest.raises(ValueError, match=message):
    _checks.arguments(LINE, _arrays(**changes))
