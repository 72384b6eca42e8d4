"""Empty figures, colours, and PNG files that are whole at any time."""

import os
import pathlib
from typing import Any

from absl import logging

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
    logging.warning("matplotlib is not installed: %s is not drawn", path)
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
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.tmp")
  figure.savefig(temporary, format="png")
  os.replace(temporary, path)
  return path
