"""Pictures: empty figures, colors, PNG and GIF files."""

from collections.abc import Sequence
import os
import pathlib
from typing import Any

from absl import logging
import numpy as np

from jaxseq import _files
from jaxseq import validate

# Okabe and Ito's colors, distinct for every kind of color vision; without the
# yellow, which is faint on white.
COLORS = (
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#000000",
)
GRAY = "#666666"
# Line styles, which distinguish more lines than there are colors.
STYLES = (
  "-",
  (0, (4, 1.5)),
  (0, (1, 1.2)),
  (0, (5, 1.2, 1, 1.2)),
  (0, (5, 1.2, 1, 1.2, 1, 1.2)),
)


def new(path: str | os.PathLike, width: float, height: float) -> Any:
  """Returns a figure, or None, with a warning, without matplotlib.

  Width and height are in inches; the warning names the file that it is for.
  """
  try:
    # Slow to import, and not needed by a program that draws nothing.
    from matplotlib import figure
    from matplotlib.backends import backend_agg
  except ImportError:
    logging.warning(
      "matplotlib is not installed: %s is not drawn (pip install"
      " 'jaxseq[log]').",
      path,
    )
    return None
  fig = figure.Figure(figsize=(width, height), dpi=150, layout="constrained")
  backend_agg.FigureCanvasAgg(fig)
  return fig


def panels(
  path: str | os.PathLike,
  titles: Sequence[str],
  columns: int,
  size: tuple[float, float],
  margin: tuple[float, float] = (0.0, 0.0),
  **options: Any,
) -> list[Any] | None:
  """Returns the axes of a new figure, a panel for each title, row after row.

  Args:
    path: the file that it is for.
    titles: above the panels; at least one.
    columns: number of panels side by side.
    size: inches of a panel, width and height.
    margin: inches beside all panels, and above them.
    **options: of matplotlib's `subplots`.

  Returns:
    The axes; None, with a warning, without matplotlib.

  Raises:
    ValueError: there is no title.
  """
  if not titles:
    raise validate.error("panels", {}, "at least one panel")
  rows = -(-len(titles) // columns)
  width, height = size[0] * columns + margin[0], size[1] * rows + margin[1]
  figure = new(path, width, height)
  if figure is None:
    return None
  grid = figure.subplots(rows, columns, squeeze=False, **options).flat
  for axes, title in zip(grid, titles):
    axes.set_title(title, loc="left", fontsize=10)
  for axes in grid[len(titles) :]:
    axes.set_axis_off()
  return list(grid[: len(titles)])


def lines(axes: Any, axis: str) -> None:
  """Leaves of a panel's frame two sides, and draws faint lines behind it all.

  The lines are those of the numbers of an axis: "x", "y" or "both".
  """
  axes.spines[["top", "right"]].set_visible(False)
  axes.grid(axis=axis, color="#dddddd", lw=0.6)
  axes.set_axisbelow(True)


def rows(axes: Any, labels: Sequence[str]) -> None:
  """Writes labels beside rows of bars, the first above the others."""
  axes.set_yticks(range(len(labels)), labels, fontsize=9)
  axes.tick_params(axis="y", length=0)
  axes.set_ylim(len(labels) - 0.5, -0.5)


def save(figure: Any, path: str | os.PathLike) -> pathlib.Path:
  """Writes a PNG file, which is whole at any time; returns its path."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with _files.replacing(path) as file:
    figure.savefig(file, format="png")
  return path


def write_gif(
  path: str | os.PathLike,
  pictures: Sequence[np.ndarray],
  seconds: Sequence[float],
  *,
  colors: int = 256,
) -> pathlib.Path:
  """Writes pictures as an animation, repeated for ever; returns its path.

  Args:
    path: the GIF file to write; it is whole at any time.
    pictures: (height, width, 3) uint8, at least one.
    seconds: how long each picture is shown.
    colors: of a picture, at most; few of them keep files small.

  Raises:
    ValueError: there is no picture.
    ModuleNotFoundError: pillow is not installed.
  """
  if not len(pictures):
    raise ValueError("pictures: got none, expected at least one.")
  try:
    # Not needed by a program that draws nothing.
    from PIL import Image
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f"{path} is drawn by pillow: pip install 'jaxseq[log]'.", name="pillow"
    ) from error

  path = pathlib.Path(path)
  first, *others = (
    Image.fromarray(picture).quantize(
      colors, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    for picture in pictures
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  with _files.replacing(path) as file:
    first.save(
      file,
      format="GIF",
      save_all=True,
      append_images=others,
      duration=[round(1000 * time) for time in seconds],
      loop=0,
    )
  return path
