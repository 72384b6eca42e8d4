"""Tables and pictures of trained classifiers: classes, confusion, calibration.

All take the results of arms with the figures of `confusion`.
"""

from collections.abc import Mapping
import os
import pathlib
from typing import Any

import numpy as np

from jaxseq.tasks.classification import confusion
from jaxseq.training import figures
from jaxseq.training import tables
from jaxseq.training.devices import processes

# More classes than this are too many for a screen, or for numbers in cells.
_MOST_ROWS = 20
_MOST_NUMBERS = 12
_MOST_LABELS = 40


def show(
  directory: pathlib.Path,
  results: Mapping[str, Mapping[str, Any]],
  *,
  draw: bool,
) -> None:
  """Prints the table of classes, and draws confusion and calibration.

  With several processes only the first one does.

  Args:
    directory: of the run; gets calibration.png, and ARM/confusion.png.
    results: of the arms.
    draw: whether to draw.
  """
  classes = {name: x for name, x in results.items() if "classes" in x}
  if not classes or not processes.is_first():
    return
  headings, rows = confusion.rows(classes, _MOST_ROWS)
  total = len(next(iter(classes.values()))["classes"])
  which = "" if len(rows) == total else f"; the {len(rows)} lowest of {total}"
  tables.show(
    headings, rows, title=f"classes on the test set, means over seeds{which}"
  )
  if not draw:
    return
  pictures = [
    draw_confusion(directory / name / "confusion.png", result, name)
    for name, result in classes.items()
  ]
  pictures.append(draw_calibration(directory / "calibration.png", classes))
  if all(pictures):
    print(f"Confusion and calibration: {', '.join(map(str, pictures))}")


def draw_confusion(
  path: str | os.PathLike, result: Mapping[str, Any], arm: str
) -> pathlib.Path | None:
  """Draws the confusion matrix over all seeds.

  Args:
    path: the PNG file to write.
    result: of the arm.
    arm: its name.

  Returns:
    The path; None, with a warning, if matplotlib is not installed.
  """
  table = np.nansum(np.asarray(result["confusion"], float), axis=0)
  share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
  names, size = list(result["classes"]), len(table)
  side = 2.2 + 0.34 * min(max(size, 4), _MOST_LABELS)
  figure = figures.new(path, side + 1.0, side)
  if figure is None:
    return None
  axes = figure.add_subplot()
  mesh = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
  every = -(-size // _MOST_LABELS)
  labels = [_short(name) for name in names[::every]]
  long = max(map(len, labels)) > 2
  axes.set_xticks(range(0, size, every), labels, rotation=90 if long else 0)
  axes.set_yticks(range(0, size, every), labels)
  axes.tick_params(length=0, labelsize=8)
  axes.spines[:].set_visible(False)
  if size <= _MOST_NUMBERS:
    for i, j in np.ndindex(size, size):
      if table[i, j]:
        axes.text(
          j,
          i,
          f"{100 * share[i, j]:.0f}",
          ha="center",
          va="center",
          fontsize=7,
          color="white" if share[i, j] > 0.5 else "black",
        )
  axes.set_xlabel("taken for")
  axes.set_ylabel("class")
  accuracy = tables.mean_std(result["accuracy"])
  axes.set_title(f"{arm}, accuracy {accuracy}", loc="left", fontsize=10)
  figure.colorbar(
    mesh, ax=axes, shrink=0.8, label="test examples of the class (%)"
  )
  return figures.save(figure, path)


def draw_calibration(
  path: str | os.PathLike, results: Mapping[str, Mapping[str, Any]]
) -> pathlib.Path | None:
  """Draws the accuracy of each classifier over its confidence.

  Args:
    path: the PNG file to write.
    results: of the arms.

  Returns:
    The path; None, with a warning, if matplotlib is not installed.
  """
  titles = [
    f"{name}, ECE {tables.mean_std(result['ece'])}"
    for name, result in results.items()
  ]
  columns, size = min(3, len(results)), (3.1, 3.1)
  shared = {"sharex": True, "sharey": True}
  grid = figures.panels(path, titles, columns, size, (0.6, 0.6), **shared)
  if grid is None:
    return None
  figure = grid[0].figure
  for axes, result in zip(grid, results.values()):
    bins = {
      key: np.asarray(value, float)
      for key, value in result["calibration"].items()
    }
    count = np.nan_to_num(bins["count"]).sum(axis=0)
    mean = {
      key: np.nansum(bins[key] * bins["count"], axis=0) / np.maximum(count, 1)
      for key in ("confidence", "accuracy")
    }
    axes.plot([0, 1], [0, 1], color=figures.GRAY, lw=1, ls=(0, (4, 3)))
    seen = count > 0
    x, y = mean["confidence"][seen], mean["accuracy"][seen]
    axes.vlines(x, x, y, color=figures.COLORS[1], lw=1.5, alpha=0.7)
    area = 8 + 140 * count[seen] / count.sum()
    look = {"color": figures.COLORS[0], "zorder": 3, "clip_on": False}
    axes.scatter(x, y, s=area, **look)
    ticks = {"xticks": [0, 0.5, 1], "yticks": [0, 0.5, 1]}
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", **ticks)
    figures.lines(axes, "both")
  figure.supxlabel(
    "mean confidence of a bin\n"
    # A single panel is too narrow for one line.
    "area: share of the test examples\norange: distance from calibrated",
    fontsize=9,
  )
  figure.supylabel("share of them that is right", fontsize=9)
  return figures.save(figure, path)


def _short(name: str, most: int = 18) -> str:
  return name if len(name) <= most else f"{name[: most - 1]}…"
