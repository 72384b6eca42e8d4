"""A canvas to draw on, in pixels from the upper left corner."""

import functools
from typing import Any

import numpy as np

# As in the plots: distinguishable with every kind of color vision.
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREEN = "#009E73"
YELLOW = "#E69F00"
SKY = "#56B4E9"
BLACK = "#222222"
GRAY = "#777777"
LIGHT = "#d8d8d8"
PALE = "#f0f0f0"
WHITE = "#ffffff"

# Left, top, right and bottom.
Box = tuple[float, float, float, float]

# Everything is drawn larger by this factor, so that slopes become smooth.
_SCALE = 2


class Canvas:
  """A white picture, drawn with pillow.

  Points are pairs (x, y), boxes are (left, top, right, bottom).
  """

  def __init__(self, width: int, height: int):
    # Imported here, as it is slow and only needed for drawing.
    from PIL import Image
    from PIL import ImageDraw

    self.width, self.height = width, height
    self._image = Image.new("RGB", (width * _SCALE, height * _SCALE), WHITE)
    self._draw = ImageDraw.Draw(self._image)

  def box(
    self,
    box: Box,
    fill: str | None = None,
    outline: str | None = None,
    width: float = 1,
    radius: float = 0,
  ) -> None:
    """Draws a rectangle, with round corners if a radius is given."""
    edge = round(width * _SCALE) if outline else 0
    self._draw.rounded_rectangle(
      _scaled(box), radius * _SCALE, fill, outline, edge
    )

  def circle(
    self,
    center: tuple[float, float],
    radius: float,
    fill: str | None = None,
    outline: str | None = None,
    width: float = 1,
  ) -> None:
    """Draws a circle."""
    box = _scaled(inset((*center, *center), -radius))
    self._draw.ellipse(box, fill, outline, round(width * _SCALE))

  def line(
    self, points: list[tuple[float, float]], color: str, width: float = 1
  ) -> None:
    """Draws a line through points."""
    places = list(map(_scaled, points))
    self._draw.line(places, color, round(width * _SCALE), joint="curve")

  def text(
    self,
    point: tuple[float, float],
    text: str,
    size: float = 14,
    color: str = BLACK,
    anchor: str = "mm",
  ) -> None:
    """Writes a line of text.

    Args:
      point: position of its anchor.
      text: the line.
      size: font size in pixels.
      color: text color.
      anchor: two letters: left, middle or right; ascender, middle or baseline
        ("s").
    """
    font = _font(round(size * _SCALE))
    self._draw.text(_scaled(point), text, color, font, anchor)

  def pixels(self) -> np.ndarray:
    """Returns the picture, (height, width, 3) uint8."""
    return np.asarray(self._image.reduce(_SCALE))


def grid(area: Box, rows: int, columns: int) -> list[list[Box]]:
  """Returns boxes of square cells, as large as possible, centered in a box.

  Args:
    area: the box.
    rows: number of rows.
    columns: number of columns.

  Returns:
    The boxes, a list per row.
  """
  left, top, right, bottom = area
  size = min((right - left) / columns, (bottom - top) / rows)
  left += (right - left - size * columns) / 2
  top += (bottom - top - size * rows) / 2
  xs = [left + i * size for i in range(columns + 1)]
  ys = [top + i * size for i in range(rows + 1)]
  return [
    [(xs[j], ys[i], xs[j + 1], ys[i + 1]) for j in range(columns)]
    for i in range(rows)
  ]


def middle(box: Box) -> tuple[float, float]:
  """Returns the middle of a box."""
  return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def inset(box: Box, margin: float) -> Box:
  """Returns a box that is smaller by a margin on each side."""
  return box[0] + margin, box[1] + margin, box[2] - margin, box[3] - margin


def _scaled(numbers):
  return tuple(float(number) * _SCALE for number in numbers)


@functools.cache
def _font(size: int) -> Any:
  # This font has the suits of cards, and every matplotlib installs it.
  import matplotlib
  from PIL import ImageFont

  path = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
  return ImageFont.truetype(path, size)
