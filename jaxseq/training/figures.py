"""Pictures: empty figures, colours, PNG and GIF files."""

from collections.abc import Sequence
import os
import pathlib
from typing import Any

from absl import logging
import numpy as np

from jaxseq.training import files

# Okabe and Ito's colours, told apart with every kind of colour vision; without
# the yellow, which is faint on white.
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
# Beyond as many lines as there are colors, these tell them apart.
STYLES = (
  "-",
  (0, (4, 1.5)),
  (0, (1, 1.2)),
  (0, (5, 1.2, 1, 1.2)),
  (0, (5, 1.2, 1, 1.2, 1, 1.2)),
)


def new(path: str | os.PathLike, width: float, height: float) -> Any:
  """Returns a figure, or None, with a warning, without matplotlib.

  Args:
    path: the file that it is for, named in the warning.
    width: inches.
    height: inches.
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


def save(figure: Any, path: str | os.PathLike) -> pathlib.Path:
  """Writes a figure as a PNG file; the file is whole at any time.

  Args:
    figure: from `new`.
    path: the file; its directory is made.

  Returns:
    The path.
  """
  path = pathlib.Path(path)
  with files.replacing(path) as file:
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
  with files.replacing(path) as file:
    first.save(
      file,
      format="GIF",
      save_all=True,
      append_images=others,
      duration=[round(1000 * time) for time in seconds],
      loop=0,
    )
  return path
