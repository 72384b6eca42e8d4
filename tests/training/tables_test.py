"""Tables: aligned, rounded, and printable anywhere."""

import io
import math

import numpy as np
import pytest

from jaxseq.training import tables


@pytest.mark.parametrize(
  ("values", "text"),
  [
    ([0.5, 1.0], "0.750 ± 0.354"),
    (0.25, "0.250"),
    ([1.0, 2.0, math.nan], "1.500 ± 0.707 (1 of 3 not finite)"),
    ([math.nan], "-"),
    (np.ones(3, np.float32), "1.000 ± 0.000"),
  ],
)
def test_mean_std(values, text):
  assert tables.mean_std(values) == text


def test_mean_std_digits():
  assert tables.mean_std([1.0, 2.0], digits=1) == "1.5 ± 0.7"


def test_render():
  text = tables.render(
    ["model", "return", "params"],
    [["s5", "0.98 ± 0.01", 12345], ["gru", "0.6 ± 0.1", 9]],
    title="Results",
  )
  assert text == (
    "Results\n"
    "model  return       params\n"
    "-----  -----------  ------\n"
    "s5     0.98 ± 0.01   12345\n"
    "gru    0.6 ± 0.1         9"
  )


def test_floats_are_shortened():
  lines = tables.render(["x"], [[0.123456789], [np.float32(1e-9)]]).splitlines()
  assert lines[2:] == ["0.1235", " 1e-09"]


def test_no_rows():
  assert tables.render(["a", "b"], []) == "a  b\n-  -"


def test_rows_must_fit():
  with pytest.raises(ValueError, match="expected 2 cells, one per column"):
    tables.render(["a", "b"], [[1]])


def test_show_prints_and_returns():
  stream = io.StringIO()
  text = tables.show(["a"], [["±"]], stream=stream)
  assert stream.getvalue() == text + "\n"


def test_show_on_a_stream_without_the_sign():
  raw = io.BytesIO()
  stream = io.TextIOWrapper(raw, encoding="ascii")
  tables.show(["a"], [["1 ± 2"]], stream=stream)
  stream.flush()
  assert raw.getvalue().decode("ascii").splitlines()[-1] == "1 +- 2"


def test_show_on_a_terminal():
  class Terminal(io.StringIO):
    def isatty(self):
      return True

  stream = Terminal()
  text = tables.show(["name", "x"], [["[0, 1]", 2.0]], "T", stream=stream)
  shown = stream.getvalue()
  for word in ("T", "name", "[0, 1]", "2"):
    assert word in shown
  assert shown != text + "\n"
  # What does not fit would be shortened.
  wide = tables.show(["name", "x"], [["a" * 200, 2.0]], "T", stream=stream)
  assert stream.getvalue() == shown + wide + "\n"


def test_natural_order():
  labels = ["1,024", "64", "16,384", "256", "length 12", "length 9"]
  assert tables.natural_order(labels) == [
    "64",
    "256",
    "1,024",
    "16,384",
    "length 9",
    "length 12",
  ]


def test_seeds_in_words():
  assert tables.over_seeds(1) == "one seed"
  assert tables.over_seeds(3) == "mean ± standard deviation over 3 seeds"


def test_counts():
  assert tables.counted(1, "new game") == "1 new game"
  assert tables.counted(2000, "game") == "2,000 games"
  # Integers are counts: they have no decimals where they are one number.
  assert tables.mean_std([7]) == "7"
  assert tables.mean_std([7, 7]) == "7 ± 0"
  assert tables.mean_std([7, 8]) == "7.5 ± 0.7"
  assert tables.mean_std([7.0]) == "7.000"


def test_spread():
  found = tables.spread([1.0, 3.0, float("nan")])
  assert found == {"mean": 2.0, "std": pytest.approx(2**0.5), "n": 2}
  assert tables.spread([])["n"] == 0
