"""Summaries of data read from files: the content of each part.

A summary is JSON. It has the "file" or files, "channels", the names of the
"series" of a panel, the "label" and "classes" if there are any, the "unit" of
gaps or the usual "step" in time, "missing" with the share of missing values and
their handling, the number of series that are "left_out", "counts" such as that
of all rows, and for each part the number of its "examples" and "elements", and
its "first" and "last" time.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from absl import logging
import numpy as np

from jaxseq.data import _series_targets
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import recordings

PARTS = ("train", "valid", "test")
# Accuracy from which a single channel is said to reveal the label.
_REVEALING = 0.99
# Fewest training series for this warning.
_LEAST = 10
# Most names in a line.
_LISTED = 12


def of_series(
  whole: recordings.Recordings,
  parts: Sequence[np.ndarray],
  targets: _series_targets.Targets,
  missing: str,
  step: float | None,
) -> dict[str, Any]:
  """Returns the summary of series, in addition to that of their arrays."""
  summary: dict[str, Any] = {"label": list(targets.names)}
  summary["parts"] = {
    name: _span(whole, rows) for name, rows in zip(PARTS, parts) if len(rows)
  }
  used = np.concatenate(parts).astype(int)
  left_out = len(whole.ids) - len(used)
  if left_out:
    summary["left_out"] = left_out
  share = np.mean(np.isnan(np.concatenate([whole.values[i] for i in used])))
  if share:
    summary["missing"] = {"share": float(share), "option": missing}
  if step is not None:
    summary["step"] = _unit(step, whole.stamps and whole.stamps[0])
  return summary


def of_spans(
  spans: Sequence[tuple[np.ndarray | None, Sequence[int]]],
  step: float | None,
  missing: tuple[float, str] = (0.0, ""),
) -> dict[str, Any]:
  """Returns the summary of long series that are split by time.

  Args:
    spans: the times (time,) of each series, or None, and the ends of its three
      parts.
    step: usual time between two rows.
    missing: share of the missing values, and their handling.
  """
  parts: dict[str, Any] = {}
  for number, name in enumerate(PARTS):
    cut = [(times, (0, *ends)[number], ends[number]) for times, ends in spans]
    cut = [(times, low, high) for times, low, high in cut if high > low]
    if not cut:
      continue
    parts[name] = {
      "examples": len(cut),
      "elements": int(sum(high - low for _, low, high in cut)),
    }
    dated = [x for x in cut if x[0] is not None]
    if dated:
      parts[name]["first"] = _word(min(x[0][x[1]] for x in dated))
      parts[name]["last"] = _word(max(x[0][x[2] - 1] for x in dated))
  summary: dict[str, Any] = {"parts": parts}
  if step is not None:
    times = spans[0][0]
    summary["step"] = _unit(step, times)
  share, option = missing
  if share:
    summary["missing"] = {"share": float(share), "option": option}
  return summary


def of_rows(
  times: np.ndarray, parts: np.ndarray, **counts: int
) -> dict[str, Any]:
  """Returns the summary of rows that are each in a part.

  Args:
    times: (rows,) numbers or dates.
    parts: (rows,) 0 for training, 1 for validation, 2 for testing.
    **counts: numbers of other things, such as users.
  """
  found: dict[str, Any] = {
    "counts": {"rows": len(times), **counts},
    "parts": {},
  }
  for number, name in enumerate(PARTS):
    part_times = times[parts == number]
    if len(part_times):
      ends = {"first": _word(part_times.min()), "last": _word(part_times.max())}
      found["parts"][name] = ends
  return found


def _unit(step, times):
  """Formats a usual step with its unit."""
  dates = times is not None and _time_stamps.are_dates(times)
  return f"{step:g}{' seconds' if dates else ''}"


def _span(whole, rows):
  """Counts some series and their elements, with their first and last time."""
  found: dict[str, Any] = {
    "examples": len(rows),
    "elements": int(sum(len(whole.values[i]) for i in rows)),
  }
  if whole.stamps is not None:
    found["first"] = _word(min(whole.stamps[i][0] for i in rows))
    found["last"] = _word(max(whole.stamps[i][-1] for i in rows))
  return found


def _word(time):
  """Formats a time."""
  if isinstance(time, np.datetime64):
    return str(time).removesuffix(".000000").removesuffix("T00:00:00")
  return float(time)


def of_splits(splits: Any) -> dict[str, Any] | None:
  """Returns the summary of data from a file; None for other data."""
  info = getattr(splits, "info", None)
  prepared = getattr(info, "preparation", None)
  if getattr(prepared, "reader", None) is None:
    return None
  summary: dict[str, Any] = {"file": info.source}
  channels = getattr(prepared, "channels", None) or info.channels
  for name, value in (("channels", channels), ("classes", info.classes)):
    if value:
      summary[name] = list(value)
  parts: dict[str, Any] = {}
  written = info.summary or {}
  for name in PARTS:
    part = getattr(splits, name)
    if isinstance(part, datasets.ArrayDataset):
      parts[name] = {"examples": len(part.inputs)}
      if part.lengths is not None:
        parts[name]["elements"] = int(np.sum(part.lengths))
      elif prepared.kind == "text":
        parts[name]["elements"] = int(part.inputs.size)
      parts[name] |= written.get("parts", {}).get(name, {})
  return {**summary, **written, "parts": parts}


def text(summary: Mapping[str, Any]) -> str:
  """Formats a summary as lines for a terminal."""
  lines = [f"read: {summary['file']}"]
  if "counts" in summary:
    counts = (f"{count:,} {name}" for name, count in summary["counts"].items())
    lines.append(", ".join(counts))
  for name in ("channels", "series", "label", "classes"):
    if summary.get(name):
      lines.append(f"{name}: {_some(summary[name])}")
  for name, part in summary["parts"].items():
    count = part["examples"]
    words = [f"{count:,} example{'s' * (count != 1)}"]
    if "elements" in part:
      words.append(f"{part['elements']:,} elements")
    if "first" in part:
      words.append(f"from {part['first']} to {part['last']}")
    lines.append(f"{name}: {', '.join(words)}")
  if "step" in summary:
    lines.append(f"usual step: {summary['step']}")
  if "unit" in summary:
    lines.append(f"gaps are in {summary['unit']}s")
  if "missing" in summary:
    share, option = summary["missing"].values()
    lines.append(f"missing: {share:.2%} of the values ({option})")
  if "left_out" in summary:
    lines.append(f"left out: {summary['left_out']:,} series")
  return "\n  ".join(lines)


def _some(names):
  """Lists the first names in a line."""
  listed = ", ".join(names[:_LISTED])
  more = len(names) - _LISTED
  return f"{listed} and {more:,} more" if more > 0 else listed


def warn_of_revealing(
  whole: recordings.Recordings,
  rows: np.ndarray,
  targets: _series_targets.Targets,
) -> None:
  """Warns of a channel that alone predicts the label of training series.

  Such a channel often holds information that is missing at prediction time.
  Nothing is logged if all channels predict the label, or there is only one.
  """
  channels = whole.channels or ()
  if len(channels) < 2 or targets.kind == "none" or len(rows) < _LEAST:
    return
  shares = [_revealed(whole, rows, targets, i) for i in range(len(channels))]
  clear = [i for i, share in enumerate(shares) if share >= _REVEALING]
  if len(clear) == len(channels):
    return
  for channel in clear:
    logging.warning(
      "The channel %r alone predicts %s of the training series (%s %.3f). If"
      " it is not known when you predict, leave it out by the option ignore"
      " = %r.",
      channels[channel],
      ", ".join(map(repr, targets.names)) or "the label",
      "accuracy" if targets.kind == "class" else "correlation",
      shares[channel],
      channels[channel],
    )


def _revealed(whole, rows, targets, channel):
  """Returns the best score of a mean, first or last value for the label."""
  series = [whole.values[i][:, channel] for i in rows]
  if targets.kind == "step":
    values = np.concatenate(series)
    numbers = np.concatenate([targets.values[i] for i in rows])
    return _correlation(values, numbers)
  known = [one[~np.isnan(one)] for one in series]
  filled = np.array([len(one) > 0 for one in known])
  if filled.sum() < _LEAST:
    return 0.0
  known = [one for one in known if len(one)]
  labels = targets.values[rows][filled]
  measure = _separated if targets.kind == "class" else _correlation
  statistics = (np.mean, lambda one: one[0], lambda one: one[-1])
  return max(
    measure(np.array([statistic(one) for one in known]), labels)
    for statistic in statistics
  )


def _separated(values, labels):
  """The accuracy of the best intervals of values, one interval per class."""
  classes = np.unique(labels)
  if len(classes) < 2:
    return 0.0
  centers = [np.median(values[labels == one]) for one in classes]
  classes = classes[np.argsort(centers)]
  right = 0
  for low, high in zip(classes, classes[1:]):
    pair = np.isin(labels, (low, high))
    order = np.argsort(values[pair], kind="stable")
    ordered, is_high = values[pair][order], labels[pair][order] == high
    # Errors of a threshold before each value; equal values stay together.
    errors = (
      np.cumsum(np.r_[0, is_high]) + np.cumsum(np.r_[0, ~is_high[::-1]])[::-1]
    )
    whole = np.r_[True, ordered[1:] > ordered[:-1], True]
    right += errors[whole].min()
  return 1 - right / len(labels)


def _correlation(values, numbers):
  """The largest correlation of values (n,) with numbers (n, columns)."""
  known = ~(np.isnan(values) | np.isnan(numbers).any(axis=1))
  values, numbers = values[known], numbers[known]
  if len(values) < _LEAST or not np.ptp(values):
    return 0.0
  return max(
    abs(float(np.corrcoef(values, column)[0, 1])) if np.ptp(column) else 0.0
    for column in numbers.T
  )
