"""The progress bar: right words, and silence where nobody looks."""

import io
import math
import re

import numpy as np
import pytest

from jaxseq.training import progress


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  """A clock that the test moves."""
  now = [100.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  return now


def drive(bar, clock):
  """Runs 400 of 1000 steps at 50 steps per second, after a slow compile."""
  with bar:
    bar.start(0)
    bar.doing("compiling", compiles=True)
    clock[0] += 60.0
    for step in (100, 200, 300, 400):
      bar.update(step, {"return": [0.25, 0.75]})
      clock[0] += 2.0


def test_a_line_now_and_then_without_a_terminal(clock):
  stream = io.StringIO()
  bar = progress.Progress(10_000, metric="return", label="s5", stream=stream)
  drive(bar, clock)
  with bar:
    for step in range(500, 3500, 100):
      bar.update(step, {"return": 0.25})
      clock[0] += 2.0
  lines = stream.getvalue().splitlines()
  # One when it begins and one after the compilation; then, for it is entered
  # again, one at once and one after 30 seconds.
  assert len(lines) == 4
  assert lines[0] == "s5   0%  compiling"
  assert lines[1].startswith("s5   1%  return 0.5")
  line = r"s5  20%  return 0.25  50 steps/s  2m4\ds left"
  assert re.fullmatch(line, lines[3])


def test_shows_metric_speed_and_time_left(clock, monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "120")
  stream = Terminal()
  bar = progress.Progress(1000, metric="return", label="s5", stream=stream)
  drive(bar, clock)
  shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
  assert "s5" in shown
  assert "40%" in shown
  # 600 steps are left at 50 a second: the compilation does not count.
  assert "return 0.5  50 steps/s  12s left" in shown


def test_last_finite_value_stays(clock):
  bar = progress.Progress(10, metric="return", stream=io.StringIO())
  bar.update(1, {"return": math.nan})
  assert bar.status(1) == ""
  bar.update(2, {"return": np.float32(1.5)})
  bar.update(3, {"return": math.nan, "other": 1.0})
  bar.update(4, None)
  assert bar.status(4).startswith("return 1.5")


def test_several_metrics_stand_side_by_side(clock):
  bar = progress.Progress(100, metric=("return", "loss"), stream=io.StringIO())
  bar.update(10, {"loss": [math.nan], "return": [1.0, 2.0], "other": 5.0})
  assert bar.status(10) == "return 1.5"
  clock[0] += 2.0
  bar.update(20, {"loss": [0.25, 0.75], "return": math.nan})
  assert bar.status(20) == "return 1.5  loss 0.5  5 steps/s  16s left"


def test_speed_is_that_of_late(clock):
  bar = progress.Progress(10_000, stream=io.StringIO())
  assert bar.speed() is None
  step = 0
  for rate in [1] * 30 + [100] * 30:
    clock[0] += 1.0
    step += rate
    bar.update(step)
  assert bar.speed() == pytest.approx(100)


def test_going_on_does_not_count_old_steps(clock):
  bar = progress.Progress(1000, stream=io.StringIO())
  bar.start(900)
  clock[0] += 5.0
  bar.update(910)
  clock[0] += 1.0
  bar.update(920)
  assert bar.speed() == pytest.approx(10)
  assert bar.status(920) == "10 steps/s  8s left"


def test_what_runs_is_shown_and_compilations_do_not_count(clock):
  stream = io.StringIO()
  bar = progress.Progress(1000, stream=stream)
  bar.start(0)
  bar.doing("compiling", compiles=True)
  assert bar.status(0) == "compiling"
  clock[0] += 60.0
  bar.update(100)
  clock[0] += 2.0
  bar.update(200)
  bar.doing("evaluating", compiles=True)
  assert bar.status(200) == "50 steps/s  16s left  evaluating"
  clock[0] += 100.0
  bar.doing("")
  clock[0] += 2.0
  bar.update(300)
  assert bar.status(300) == "50 steps/s  14s left"
  # An evaluation that is compiled already is part of the time that is left.
  bar.doing("evaluating")
  clock[0] += 4.0
  bar.update(400)
  assert bar.speed() == pytest.approx(300 / 8)
  lines = stream.getvalue().splitlines()
  assert [line.split("  ")[-1] for line in lines][:2] == ["compiling", "10%"]


def test_steps_that_were_compiled_are_not_counted_either(clock):
  """A last chunk of another size tells no speed."""
  bar = progress.Progress(120, stream=io.StringIO())
  bar.start(0)
  for step in (100, 120):
    bar.doing("compiling", compiles=True)
    clock[0] += 60.0
    bar.doing("evaluating")
    clock[0] += 0.001
    bar.update(step, timed=False)
  assert bar.speed() is None
  assert bar.status(120) == ""


def test_a_run_that_is_done_compiles_nothing(clock):
  stream = io.StringIO()
  bar = progress.Progress(1000, label="gru", stream=stream)
  bar.start(1000)
  assert stream.getvalue() == "gru 100%\n"


@pytest.mark.parametrize(
  ("value", "text"),
  [
    *((0.5, "0.5"), (999, "999"), (12_345, "12.3k"), (2.5e6, "2.5M")),
    *((3e9, "3G"), (999.9, "1k"), (-999_900, "-1M"), (float("nan"), "nan")),
  ],
)
def test_short_number(value, text):
  assert progress.short_number(value) == text


@pytest.mark.parametrize(
  ("seconds", "text"),
  [(0.2, "0s"), (59.6, "1m00s"), (185, "3m05s"), (7800, "2h10m"), (1e400, "?")],
)
def test_short_time(seconds, text):
  assert progress.short_time(seconds) == text


def test_the_end_is_told_at_once(clock):
  stream = io.StringIO()
  bar = progress.Progress(1000, metric="return", label="s5", stream=stream)
  with bar:
    bar.start(0)
    bar.doing("compiling", compiles=True)
    for step in (500, 1000):
      bar.update(step, {"return": 0.25})
      clock[0] += 1.0
  lines = stream.getvalue().splitlines()
  assert lines == [
    "s5   0%  compiling",
    "s5 100%  return 0.25  500 steps/s",
  ]
