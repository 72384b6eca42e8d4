"""Learning curves as PNG files."""

from collections.abc import Mapping
from collections.abc import Sequence
import os
import pathlib
from typing import Any
import warnings

from absl import logging
import numpy as np

# Okabe and Ito's colours, told apart with every kind of colour vision; without
# the yellow, which is faint on white.
_COLOURS = (
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#000000",
)
_GREY = "#666666"
# Beyond as many curves as there are colours, these tell them apart.
_STYLES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))


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
      the standard deviation over seeds (of two seeds: from one to the other).
    xlabel: of the axis of steps.
    ylabel: of the axis of values.
    title: above the plot.
    references: labels to values that get a dashed horizontal line.
    smooth: each point is the mean of the last `smooth` values of its seed.

  Returns:
    The path; None, with a warning, if matplotlib is not installed.

  Raises:
    ValueError: there is no curve, or steps and values do not fit.
  """
  prepared = {
    label: _prepare(label, *curve, smooth) for label, curve in curves.items()
  }
  if not prepared:
    raise ValueError("curves must hold at least one curve, got none")
  looks = [(colour, style) for style in _STYLES for colour in _COLOURS]
  if len(prepared) > len(looks):
    raise ValueError(
      f"curves must hold at most {len(looks)} curves, got {len(prepared)}"
    )
  try:
    # Slow to import, and not needed by a program that draws nothing.
    from matplotlib import figure
    from matplotlib import ticker
    from matplotlib.backends import backend_agg
  except ImportError:
    logging.warning("matplotlib is not installed: %s is not drawn", path)
    return None

  fig = figure.Figure(figsize=(7.0, 4.2), dpi=150, layout="constrained")
  backend_agg.FigureCanvasAgg(fig)
  axes = fig.add_subplot()
  ends = []
  for (colour, style), (label, (steps, mean, spread)) in zip(
    looks, prepared.items()
  ):
    axes.fill_between(
      steps, mean - spread, mean + spread, color=colour, alpha=0.18, lw=0
    )
    # A single point would be an invisible line.
    marker = "o" if np.isfinite(mean).sum() == 1 else None
    axes.plot(steps, mean, color=colour, ls=style, lw=1.8, marker=marker, ms=4)
    finite = np.flatnonzero(np.isfinite(mean))
    if finite.size:
      ends.append((mean[finite[-1]], label, colour, "bold"))
  for label, value in (references or {}).items():
    axes.axhline(value, color=_GREY, lw=1.0, ls=(0, (4, 3)), zorder=1)
    ends.append((value, label, _GREY, "normal"))
  axes.margins(x=0.0, y=0.06)
  first, last = axes.get_xlim()
  if 0 < first < 0.1 * last:
    # The first row comes after some updates; the run began at 0.
    axes.set_xlim(0, last)
  axes.spines[["top", "right"]].set_visible(False)
  axes.grid(axis="y", color="#dddddd", lw=0.6)
  axes.set_axisbelow(True)
  axes.xaxis.set_major_formatter(ticker.FuncFormatter(_short))
  axes.xaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
  axes.set_xlabel(xlabel)
  axes.set_ylabel(ylabel)
  axes.set_title(title, loc="left", fontsize=11)
  _label_ends(axes, ends)
  return _save(fig, pathlib.Path(path))


def _prepare(label: str, steps: Any, values: Any, smooth: int):
  """Returns steps, mean and spread of one curve, each (n,)."""
  steps = np.asarray(steps, float)
  values = np.atleast_2d(np.asarray(values, float))
  if steps.ndim != 1 or values.ndim != 2 or values.shape[1] != steps.size:
    raise ValueError(
      f"curve {label!r}: values must be (seeds, {steps.size}) for steps of "
      f"shape {steps.shape}, got {values.shape}"
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
  return steps, _nan(np.nanmean, values.T), _nan(np.nanstd, values.T)


def _nan(function, values: np.ndarray) -> np.ndarray:
  """Applies a nan-function to the last axis; all NaN gives NaN in silence."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    return function(values, axis=-1)


def _label_ends(axes: Any, ends: Sequence[tuple]) -> None:
  """Writes labels right of the axes at the heights of the ends, apart."""
  low, high = axes.get_ylim()
  gap = 0.055 * (high - low)
  ordered = sorted(ends, key=lambda end: end[0])
  heights = [end[0] for end in ordered]
  for i in range(1, len(heights)):
    heights[i] = max(heights[i], heights[i - 1] + gap)
  over = heights[-1] - high if heights else 0.0
  if over > 0:
    heights[-1] = high
    for i in range(len(heights) - 2, -1, -1):
      heights[i] = min(heights[i], heights[i + 1] - gap)
  for height, (_, label, colour, weight) in zip(heights, ordered):
    axes.annotate(
      label,
      xy=(1.0, height),
      xycoords=("axes fraction", "data"),
      xytext=(6, 0),
      textcoords="offset points",
      color=colour,
      fontsize=9,
      fontweight=weight,
      va="center",
      annotation_clip=False,
    )


def _short(value: float, unused_position: int) -> str:
  for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
    if abs(value) >= limit:
      return f"{value / limit:g}{suffix}"
  return f"{value:g}"


def _save(fig: Any, path: pathlib.Path) -> pathlib.Path:
  """Writes the figure; the file is whole at any time."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.tmp")
  fig.savefig(temporary, format="png")
  os.replace(temporary, path)
  return path
