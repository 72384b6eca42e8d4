"""Grids of windows, all on one scale."""

from collections.abc import Sequence
import os
import pathlib

import numpy as np

from jaxseq import validate
from jaxseq.training import figures


def draw(
  path: str | os.PathLike,
  windows: np.ndarray,
  lefts: Sequence[str],
  tops: Sequence[str],
  *,
  title: str = "",
  top_label: str = "",
  left_label: str = "",
  diagonal: bool = False,
  lengths: np.ndarray | None = None,
  channels: Sequence[str] | None = None,
) -> pathlib.Path | None:
  """Draws a grid of windows, those of row r up to the time lengths[r]."""
  rows, columns, length, count = windows.shape
  if lengths is None:
    lengths = np.full(rows, length)
  channels = names("channels", channels, "channel ", count)
  outer = figures.new(path, 0.9 + 1.25 * columns, 0.9 + 0.75 * rows)
  if outer is None:
    return None
  # A title of the grid beside that of the whole picture.
  figure = outer.subfigures()
  grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
  for (r, s), axes in np.ndenumerate(grid):
    for c, channel in enumerate(channels):
      turn, color = divmod(c, len(figures.COLORS))
      axes.plot(
        windows[r, s, : lengths[r], c],
        color=figures.COLORS[color],
        ls=figures.STYLES[turn % len(figures.STYLES)],
        lw=1.0,
        label=channel,
      )
    framed = diagonal and r == s
    axes.spines[:].set_color("black" if framed else "#cccccc")
    axes.spines[:].set_linewidth(1.4 if framed else 0.6)
    axes.set_xticks([])
    axes.set_yticks([])
  axes.margins(x=0.02, y=0.08)
  for axes, top in zip(grid[0], tops):
    axes.set_title(top, fontsize=9)
  for axes, left in zip(grid[:, 0], lefts):
    axes.set_ylabel(left, rotation=0, ha="right", va="center", fontsize=9)
  if title:
    outer.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
  figure.suptitle(top_label, fontsize=9, color=figures.GRAY)
  if left_label:
    figure.supylabel(left_label, fontsize=9, color=figures.GRAY)
  shown = sorted({min(lengths), max(lengths)})
  steps = " to ".join(map(str, shown))
  figure.supxlabel(f"time: {steps} steps", fontsize=8, color=figures.GRAY)
  if count > 1:
    look = {"loc": "outside right upper", "frameon": False, "fontsize": 8}
    figure.legend(grid[0, 0].get_lines(), channels, **look)
  return figures.save(outer, path)


def check(name: str, windows: np.ndarray) -> np.ndarray:
  """Returns windows (R, S, T, C) as float64, checked."""
  validate.shape(name, windows, ("rows", "columns", "time", "channels"))
  return np.asarray(windows, float)


def names(
  name: str, given: Sequence[str] | None, prefix: str, count: int
) -> list[str]:
  """Returns names that are given, or a prefix with numbers."""
  if given is None:
    return [f"{prefix}{i}" for i in range(count)]
  if len(given) != count:
    raise validate.error(name, given, f"{count} names")
  return [str(value) for value in given]
