"""A progress bar: done, speed, time left, and the metrics that matter."""

import collections
from collections.abc import Mapping
import math
import sys
import time
from typing import TextIO

import numpy as np

_WINDOW = 20  # updates of the bar over which the speed is measured
_LINE_SECONDS = 30.0  # between lines where there is no terminal


class Progress:
  """Context manager that draws a bar on stderr.

  If the stream is no terminal, lines take its place: one where something is
  compiled, and otherwise one at most every 30 seconds.

  Args:
    total: steps of the whole run.
    unit: what a step is called, in the singular.
    metric: name of the metric to show, or names of several; None shows none.
    label: what runs, before the bar.
    stream: where to draw; `sys.stderr` if None.
  """

  def __init__(
    self,
    total: int,
    *,
    unit: str = "step",
    metric: str | tuple[str, ...] | None = None,
    label: str = "",
    stream: TextIO | None = None,
  ):
    self._total = total
    self._unit = unit
    names = (metric,) if isinstance(metric, str) else metric or ()
    self._values = dict.fromkeys(names, math.nan)
    self.label = label.strip()
    self._label = label
    self._stream = stream or sys.stderr
    self._times: collections.deque = collections.deque(maxlen=_WINDOW)
    # What runs now; since when, if its time does not count; all such time.
    self._doing = ""
    self._apart: float | None = None
    self._left_out = 0.0
    self._step = 0
    # Steps whose time is not counted.
    self._untimed = 0
    self._bar = None
    self._task = None
    self._last_line = -math.inf

  def __enter__(self) -> "Progress":
    self._last_line = -math.inf
    if self._stream.isatty():
      self._bar, self._task = _rich_bar(self._stream, self._total, self._label)
      self._bar.start()
    return self

  def __exit__(self, *unused_exception) -> None:
    if self._bar is not None:
      self._bar.stop()
      self._bar = None

  def start(self, step: int) -> None:
    """Shows that the run starts, or resumes, at `step`."""
    self._times.clear()
    self._step = step
    if step >= self._total:
      self._draw()

  def doing(self, action: str, *, compiles: bool = False) -> None:
    """Shows what runs now, until the next call.

    Args:
      action: such as "evaluating"; "" for what runs most of the time.
      compiles: whether it may be compiled first; then its time does not count
        for speed and time left, because it comes once.
    """
    self._close()
    self._doing = action
    self._apart = time.monotonic() if compiles else None
    # It may take minutes.
    self._draw(at_once=compiles)

  def _close(self) -> None:
    """Ends what runs now."""
    if self._apart is not None:
      self._left_out += time.monotonic() - self._apart
    self._doing, self._apart = "", None

  def update(
    self,
    step: int,
    metrics: Mapping[str, object] | None = None,
    *,
    timed: bool = True,
  ) -> None:
    """Shows that `step` steps are done.

    Args:
      step: steps done, of `total`.
      metrics: the newest values; of a vector its mean is shown, and of values
        that are not finite the last finite one stays.
      timed: whether the time of the steps since the last update counts; it does
        not where they were compiled, see `doing`.
    """
    self._close()
    if not timed:
      self._untimed += step - self._step
    self._step = step
    at = time.monotonic() - self._left_out
    self._times.append((at, step - self._untimed))
    for name in self._values.keys() & (metrics or {}).keys():
      mean = float(np.mean(np.asarray(metrics[name], float)))
      if math.isfinite(mean):
        self._values[name] = mean
    # The end is shown even if the last line was just written.
    self._draw(at_once=step >= self._total)

  def speed(self) -> float | None:
    """Returns steps per second of late; None before it is known."""
    if len(self._times) < 2:
      return None
    (first, begin), (last, end) = self._times[0], self._times[-1]
    if last <= first or end <= begin:
      return None
    return (end - begin) / (last - first)

  def status(self, step: int) -> str:
    """Returns the words beside the bar."""
    parts = [
      f"{name} {value:.4g}"
      for name, value in self._values.items()
      if math.isfinite(value)
    ]
    speed = self.speed()
    if speed is not None:
      parts.append(f"{short_number(speed)} {self._unit}s/s")
      if step < self._total:
        left = (self._total - step) / speed if speed else math.inf
        parts.append(f"{short_time(left)} left")
    parts.append(self._doing)
    return "  ".join(part for part in parts if part)

  def _draw(self, *, at_once: bool = False) -> None:
    step = self._step
    if self._bar is not None:
      self._bar.update(self._task, completed=step, status=self.status(step))
    elif at_once or time.monotonic() - self._last_line >= _LINE_SECONDS:
      self._last_line = time.monotonic()
      share = min(step / self._total, 1.0) if self._total else 1.0
      text = f"{self._label} {share:4.0%}  {self.status(step)}"
      self._stream.write(f"{text.strip()}\n")
      self._stream.flush()


def short_number(value: float, digits: int = 3) -> str:
  """Returns a number of at most so many digits, such as 12.3k."""
  text = f"{value:.{digits}g}"
  for limit, suffix in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
    # After rounding: 999.9 with three digits is 1k.
    if not abs(float(text.rstrip("kMG"))) >= 1e3:
      break
    text = f"{value / limit:.{digits}g}{suffix}"
  return text


def short_time(seconds: float) -> str:
  """Returns a duration such as 45s, 3m05s or 2h10m."""
  if not math.isfinite(seconds):
    return "?"
  minutes, rest = divmod(round(seconds), 60)
  if minutes == 0:
    return f"{rest}s"
  hours, minutes = divmod(minutes, 60)
  return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def _rich_bar(stream: TextIO, total: int, label: str):
  """Returns a bar and its task."""
  # Not needed where there is no terminal.
  from rich import console
  from rich import progress

  bar = progress.Progress(
    progress.TextColumn("{task.description}"),
    progress.BarColumn(bar_width=24),
    progress.TaskProgressColumn(),
    progress.TextColumn("{task.fields[status]}"),
    console=console.Console(file=stream),
  )
  return bar, bar.add_task(label, total=total, status="")
