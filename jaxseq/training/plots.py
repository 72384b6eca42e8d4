"""Learning curves as PNG files."""

from collections.abc import Mapping
from collections.abc import Sequence
import itertools
import os
import pathlib
from typing import Any
from typing import NamedTuple
import warnings

import numpy as np

from jaxseq import validate
from jaxseq.training import figures
from jaxseq.training import progress

_BANDS = "bands: mean ± standard deviation over seeds, within their extremes"


class _Curve(NamedTuple):
  """A line and both ends of its band, (n,) each."""

  steps: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray


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
  if not any(np.isfinite(curve.mean).any() for curve in prepared.values()):
    return None
  count = len(prepared) + len(references or {})
  # Tall enough for the labels at the ends of all lines.
  figure = figures.new(path, 7.0, max(4.2, 0.24 * count))
  if figure is None:
    return None
  axes = figure.add_subplot()
  ends = _draw(axes, prepared, references or {})
  axes.set(xlabel=xlabel, ylabel=ylabel)
  axes.set_title(title, loc="left", fontsize=11)
  _note(figure, [*prepared.values()], smooth)
  _label_ends(axes, ends)
  return figures.save(figure, path)


def learning_curves(
  path: str | os.PathLike,
  panels: Mapping[str, Mapping[str, tuple[object, object]]],
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
      the same color in all panels.
    xlabel: of the axis of steps.
    ylabel: of the axis of values.
    references: titles to labels and values of dashed horizontal lines.
    smooth: see `learning_curve`.

  Returns:
    The path; None, with a warning, if matplotlib is not installed.

  Raises:
    ValueError: there is no panel or no curve, or steps and values do not fit.
  """
  prepared = {
    title: _prepare_all(curves, smooth) for title, curves in panels.items()
  }
  columns = min(3, len(panels))
  margin = max(0.0, 4.4 - 3.6 * columns), 0.6
  grid = figures.panels(path, list(panels), columns, (3.6, 2.8), margin)
  if grid is None:
    return None
  figure = grid[0].figure
  labels = list(dict.fromkeys(label for p in prepared.values() for label in p))
  for axes, (title, curves) in zip(grid, prepared.items()):
    _draw(axes, curves, (references or {}).get(title, {}), labels)
  # Below the last panel of each column.
  for axes in grid[-columns:]:
    axes.set_xlabel(xlabel)
  _note(figure, [c for p in prepared.values() for c in p.values()], smooth)
  figure.supylabel(ylabel, fontsize=10)
  lines = {
    label: line
    for axes in grid[::-1]
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
  labels = list(next(iter(panels.values()), ()))
  for title, values in panels.items():
    if list(values) != labels:
      raise ValueError(
        f"panel {title!r}: got the labels {list(values)}, expected {labels}."
      )
  size, count = (2.6, 0.32 * len(labels)), len(panels)
  grid = figures.panels(path, panels, count, size, (1.2, 1.0), sharey=True)
  if grid is None:
    return None
  for axes, values in zip(grid, panels.values()):
    for row, (color, label) in enumerate(
      zip(itertools.cycle(figures.COLORS), labels)
    ):
      estimate, low, high = values[label]
      axes.barh(row, high - low, left=low, height=0.6, color=color, alpha=0.35)
      axes.plot([estimate] * 2, [row - 0.3, row + 0.3], color=color, lw=2)
    axes.spines["left"].set_visible(False)
    figures.lines(axes, "x")
    # Few, so that those of neighbors do not meet.
    axes.locator_params(axis="x", nbins=4)
    figures.rows(axes, labels)
  return figures.save(grid[0].figure, path)


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
    raise validate.error("curves", {}, "at least one curve")
  return prepared


def _draw(axes, prepared, references, labels=None):
  """Draws curves and references; returns where their labels belong."""
  # Where there are more labels than looks, those come again.
  looks = itertools.cycle(itertools.product(figures.STYLES, figures.COLORS))
  looks = dict(zip(labels or prepared, looks))
  ends = []
  for label, (steps, mean, low, high) in prepared.items():
    style, color = looks[label]
    axes.fill_between(steps, low, high, color=color, alpha=0.18, lw=0)
    # A single point would be an invisible line.
    marker = "o" if np.isfinite(mean).sum() == 1 else None
    # The last point lies on the border.
    look = {"lw": 1.8, "marker": marker, "ms": 4, "clip_on": marker is None}
    axes.plot(steps, mean, color=color, ls=style, label=label, **look)
    finite = mean[np.isfinite(mean)]
    if finite.size:
      ends.append((finite[-1], label, color, "bold"))
  for label, value in references.items():
    axes.axhline(value, color=figures.GRAY, lw=1.0, ls=(0, (4, 3)), zorder=1)
    ends.append((value, label, figures.GRAY, "normal"))
  axes.margins(x=0.0, y=0.06)
  steps = [curve.steps for curve in prepared.values()]
  points = np.concatenate(steps)
  first, last = points.min(), points.max()
  if 0 < first < 0.1 * last or first == last > 0:
    # The first row comes after some updates; the run began at 0.
    axes.set_xlim(0, last)
  figures.lines(axes, "y")
  format_steps(axes, steps)
  return ends


def _prepare(label: str, steps: object, values: object, smooth: int) -> _Curve:
  """Returns a curve, checked and smoothed."""
  steps = np.asarray(steps, float)
  values = np.atleast_2d(np.asarray(values, float))
  if steps.ndim != 1 or values.ndim != 2 or values.shape[1] != steps.size:
    raise validate.error(
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
  return _Curve(steps, mean, low, high)


def _note(figure: Any, curves: Sequence[_Curve], smooth: int) -> None:
  """Writes below what lines and bands are, where they need a word."""
  lines = []
  if any(np.isfinite(curve.mean).sum() == 1 for curve in curves):
    lines.append("points: a single evaluation, no curve")
  if smooth > 1:
    lines.append(f"lines: means of the last {smooth} values")
  if any(np.any(curve.high > curve.low) for curve in curves):
    lines.append(_BANDS)
  if lines:
    figure.supxlabel("\n".join(lines), fontsize=8, color=figures.GRAY)


def _nan(function, values: np.ndarray, **options) -> np.ndarray:
  """Applies a nan-function to the last axis; all NaN gives NaN in silence."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    return function(values, axis=-1, **options)


def _label_ends(axes: Any, ends: Sequence[tuple]) -> None:
  """Writes labels right of the axes at the line ends, without overlap."""
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
