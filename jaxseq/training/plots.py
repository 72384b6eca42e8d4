"""Learning curves as PNG files."""

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
import itertools
import os
import pathlib
from typing import Any
import warnings

import numpy as np

from jaxseq import _validate
from jaxseq.training import figures
from jaxseq.training import progress

_BANDS = "bands: mean ± standard deviation over seeds, within their extremes"


def learning_curve(
  path: str | os.PathLike,
  curves: Mapping[str, tuple[Any, Any]],
  *,
  xlabel: str = "steps",
  ylabel: str = "",
  title: str = "",
  references: Mapping[str, float] | None = None,
  smooth: int = 1,
) -> pathlib.Path | None:
  """Draws the mean over seeds as a line, and their spread as a band.

  Args:
    path: the PNG file to write.
    curves: labels to (steps (n,), values (seeds, n) or (n,)). Values that are
      not finite are left out of means; the band is the mean plus and minus
      the standard deviation over seeds, that of the tables: with n - 1 in the
      denominator. It ends at the lowest and the highest seed, so that no band
      of an accuracy lies above 1.
    xlabel: of the axis of steps.
    ylabel: of the axis of values.
    title: above the plot.
    references: labels to values that get a dashed horizontal line.
    smooth: each point is the mean of the last `smooth` values of its seed; the
      caption says so.

  Returns:
    The path; None if no value is finite or, with a warning, if matplotlib is
    not installed.

  Raises:
    ValueError: there is no curve, or steps and values do not fit.
  """
  prepared = _prepare_all(curves, smooth)
  if not any(np.isfinite(mean).any() for _, mean, _, _ in prepared.values()):
    return None
  count = len(prepared) + len(references or {})
  # Tall enough for the labels at the ends of all lines.
  figure = figures.new(path, 7.0, max(4.2, 0.24 * count))
  if figure is None:
    return None
  axes = figure.add_subplot()
  ends = _draw(axes, prepared, references or {})
  axes.set_xlabel(xlabel)
  axes.set_ylabel(ylabel)
  axes.set_title(title, loc="left", fontsize=11)
  if note := _note([prepared], smooth):
    figure.supxlabel(note, fontsize=8, color=figures.GRAY)
  _label_ends(axes, ends)
  return figures.save(figure, path)


def learning_curves(
  path: str | os.PathLike,
  panels: Mapping[str, Mapping[str, tuple[Any, Any]]],
  *,
  xlabel: str = "steps",
  ylabel: str = "",
  references: Mapping[str, Mapping[str, float]] | None = None,
  smooth: int = 1,
) -> pathlib.Path | None:
  """Draws one panel of learning curves for each of several tasks.

  Args:
    path: the PNG file to write.
    panels: titles to curves, which are those of `learning_curve`. A label has
      the same colour in all panels.
    xlabel: of the axis of steps.
    ylabel: of the axis of values.
    references: titles to labels and values of dashed horizontal lines.
    smooth: see `learning_curve`.

  Returns:
    The path; None, with a warning, if matplotlib is not installed.

  Raises:
    ValueError: there is no panel or no curve, or steps and values do not fit.
  """
  if not panels:
    raise _validate.error("panels", {}, "at least one panel")
  columns = min(3, len(panels))
  rows = -(-len(panels) // columns)
  prepared = {
    title: _prepare_all(curves, smooth) for title, curves in panels.items()
  }
  labels = list(dict.fromkeys(label for p in prepared.values() for label in p))
  figure = figures.new(path, max(4.4, 3.6 * columns), 2.8 * rows + 0.6)
  if figure is None:
    return None
  grid = figure.subplots(rows, columns, squeeze=False)
  for axes, (title, curves) in zip(grid.flat, prepared.items()):
    _draw(axes, curves, (references or {}).get(title, {}), labels)
    axes.set_title(title, loc="left", fontsize=10)
  for axes in list(grid.flat)[len(panels) :]:
    axes.set_axis_off()
  # Below the last panel of each column.
  for axes in grid.flat[len(panels) - columns : len(panels)]:
    axes.set_xlabel(xlabel)
  if note := _note(prepared.values(), smooth):
    figure.supxlabel(note, fontsize=8, color=figures.GRAY)
  figure.supylabel(ylabel, fontsize=10)
  lines = {
    label: line
    for axes in grid.flat[::-1]
    for line, label in zip(*axes.get_legend_handles_labels())
  }
  figure.legend(
    [lines[label] for label in labels],
    labels,
    loc="outside upper center",
    ncols=min(len(labels), 8),
    frameon=False,
    fontsize=9,
  )
  return figures.save(figure, path)


def intervals(
  path: str | os.PathLike,
  panels: Mapping[str, Mapping[str, tuple[float, float, float]]],
) -> pathlib.Path | None:
  """Draws estimates with their intervals, one panel for each quantity.

  Args:
    path: the PNG file to write.
    panels: titles to labels and (estimate, lower end, upper end).

  Returns:
    The path; None, with a warning, if matplotlib is not installed.

  Raises:
    ValueError: if there is no panel, or panels have other labels.
  """
  if not panels:
    raise _validate.error("panels", {}, "at least one panel")
  labels = list(next(iter(panels.values())))
  for title, values in panels.items():
    if list(values) != labels:
      raise ValueError(
        f"panel {title!r}: got the labels {list(values)}, expected {labels}."
      )
  figure = figures.new(path, 2.6 * len(panels) + 1.2, 0.32 * len(labels) + 1.0)
  if figure is None:
    return None
  grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
  for axes, (title, values) in zip(grid, panels.items()):
    for row, (color, label) in enumerate(
      zip(itertools.cycle(figures.COLORS), labels)
    ):
      estimate, low, high = values[label]
      axes.barh(row, high - low, left=low, height=0.6, color=color, alpha=0.35)
      axes.plot([estimate] * 2, [row - 0.3, row + 0.3], color=color, lw=2)
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    # Few, so that those of neighbours do not meet.
    axes.locator_params(axis="x", nbins=4)
    axes.set_yticks(range(len(labels)), labels, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.5, -0.5)
  return figures.save(figure, path)


def format_steps(axes: Any, steps: Sequence[np.ndarray]) -> None:
  """Puts short numbers below an axis of steps, whole ones if all steps are."""
  from matplotlib import ticker

  axes.xaxis.set_major_formatter(
    ticker.FuncFormatter(lambda x, position: progress.short_number(x, 6))
  )
  whole = all(np.all(each % 1 == 0) for each in steps)
  axes.xaxis.set_major_locator(
    ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=whole)
  )


def _prepare_all(curves, smooth):
  prepared = {
    label: _prepare(label, *curve, smooth) for label, curve in curves.items()
  }
  if not prepared:
    raise _validate.error("curves", {}, "at least one curve")
  return prepared


def _draw(axes, prepared, references, labels=None):
  """Draws curves and references; returns where their labels belong."""
  # Where there are more labels than looks, those come again.
  looks = dict(
    zip(
      labels or prepared,
      itertools.cycle(
        (color, style) for style in figures.STYLES for color in figures.COLORS
      ),
    )
  )
  ends = []
  for label, (steps, mean, low, high) in prepared.items():
    color, style = looks[label]
    axes.fill_between(steps, low, high, color=color, alpha=0.18, lw=0)
    # A single point would be an invisible line.
    marker = "o" if np.isfinite(mean).sum() == 1 else None
    axes.plot(
      steps,
      mean,
      color=color,
      ls=style,
      lw=1.8,
      marker=marker,
      ms=4,
      # The last point lies on the border.
      clip_on=marker is None,
      label=label,
    )
    finite = np.flatnonzero(np.isfinite(mean))
    if finite.size:
      ends.append((mean[finite[-1]], label, color, "bold"))
  for label, value in references.items():
    axes.axhline(value, color=figures.GRAY, lw=1.0, ls=(0, (4, 3)), zorder=1)
    ends.append((value, label, figures.GRAY, "normal"))
  axes.margins(x=0.0, y=0.06)
  points = np.concatenate([steps for steps, *_ in prepared.values()])
  first, last = points.min(), points.max()
  if 0 < first < 0.1 * last or first == last > 0:
    # The first row comes after some updates; the run began at 0.
    axes.set_xlim(0, last)
  axes.spines[["top", "right"]].set_visible(False)
  axes.grid(axis="y", color="#dddddd", lw=0.6)
  axes.set_axisbelow(True)
  format_steps(axes, [steps for steps, *_ in prepared.values()])
  return ends


def _prepare(label: str, steps: Any, values: Any, smooth: int):
  """Returns steps, mean, and both ends of the band of one curve, each (n,)."""
  steps = np.asarray(steps, float)
  values = np.atleast_2d(np.asarray(values, float))
  if steps.ndim != 1 or values.ndim != 2 or values.shape[1] != steps.size:
    raise _validate.error(
      f"curve {label!r}",
      f"shape {values.shape}",
      f"(seeds, {steps.size}) for steps of shape {steps.shape}",
    )
  values = np.where(np.isfinite(values), values, np.nan)
  if smooth > 1:
    values = np.stack(
      [
        _nan(np.nanmean, values[:, max(0, i + 1 - smooth) : i + 1])
        for i in range(steps.size)
      ],
      axis=1,
    )
  mean, spread = _nan(np.nanmean, values.T), _nan(np.nanstd, values.T, ddof=1)
  # A single value has no spread.
  spread = np.where(np.isfinite(mean), np.nan_to_num(spread), np.nan)
  low = np.maximum(mean - spread, _nan(np.nanmin, values.T))
  high = np.minimum(mean + spread, _nan(np.nanmax, values.T))
  return steps, mean, low, high


def _note(panels: Collection[Mapping[str, tuple]], smooth: int) -> str:
  """Returns the caption: what lines and bands are, where they need a word."""
  parts = []
  notes = [
    int(np.isfinite(mean).sum())
    for panel in panels
    for _, mean, *_ in panel.values()
  ]
  if 1 in notes:
    parts.append("points: a single evaluation, no curve")
  if smooth > 1:
    parts.append(f"lines: means of the last {smooth} values")
  if any(
    np.any(high > low) for panel in panels for *_, low, high in panel.values()
  ):
    parts.append(_BANDS)
  return "\n".join(parts)


def _nan(function, values: np.ndarray, **options) -> np.ndarray:
  """Applies a nan-function to the last axis; all NaN gives NaN in silence."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    return function(values, axis=-1, **options)


def _label_ends(axes: Any, ends: Sequence[tuple]) -> None:
  """Writes labels right of the axes at the heights of the ends, apart."""
  low, high = axes.get_ylim()
  gap = 0.055 * (high - low) * 4.2 / axes.figure.get_figheight()
  ordered = sorted(ends, key=lambda end: end[0])
  heights = [end[0] for end in ordered]
  for i in range(1, len(heights)):
    heights[i] = max(heights[i], heights[i - 1] + gap)
  over = heights[-1] - high if heights else 0.0
  if over > 0:
    heights[-1] = high
    for i in range(len(heights) - 2, -1, -1):
      heights[i] = min(heights[i], heights[i + 1] - gap)
  for height, (_, label, color, weight) in zip(heights, ordered):
    axes.annotate(
      label,
      xy=(1.0, height),
      xycoords=("axes fraction", "data"),
      xytext=(6, 0),
      textcoords="offset points",
      color=color,
      fontsize=9,
      fontweight=weight,
      va="center",
      annotation_clip=False,
    )
