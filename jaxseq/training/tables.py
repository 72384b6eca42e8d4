"""Tables of results for the terminal."""

from collections.abc import Iterable
from collections.abc import Sequence
import math
import re
import sys
from typing import Any
from typing import TextIO

import numpy as np

from jaxseq import validate


def mean_std(values: Any, digits: int = 3) -> str:
  """Returns "mean ± std" over seeds, as "0.981 ± 0.004".

  Args:
    values: one number per seed; values that are not finite are left out, and
      their number is shown.
    digits: after the decimal point; of integers, which are counts, there is
      one, or none where all are equal.

  Returns:
    The text; a single value has no spread, and no finite value gives "-". The
    spread is the standard deviation with n - 1 in the denominator.
  """
  summary = spread(values)
  if summary["n"] == 0:
    return "-"
  if np.issubdtype(np.asarray(values).dtype, np.integer):
    digits = min(1, np.ptp(values))
  text = f"{summary['mean']:.{digits}f}"
  if summary["n"] > 1:
    text += f" ± {summary['std']:.{digits}f}"
  size = np.size(values)
  lost = size - summary["n"]
  return text + (f" ({lost} of {size} not finite)" if lost else "")


def spread(values: Any) -> dict[str, Any]:
  """Returns "mean", "std" and "n" of the values that are finite.

  The first two are NaN where there are too few values.
  """
  values = np.asarray(values, float).ravel()
  finite = values[np.isfinite(values)]
  return {
    "mean": float(finite.mean()) if finite.size else math.nan,
    "std": float(finite.std(ddof=1)) if finite.size > 1 else math.nan,
    "n": finite.size,
  }


def counted(count: int, noun: str) -> str:
  """Returns, say, "1 new game", or "2,000 new games"."""
  return f"{count:,} {noun}" + ("" if count == 1 else "s")


def num_seeds(count: int) -> str:
  """Returns "one seed" or, say, "4 seeds"."""
  return "one seed" if count == 1 else f"{count} seeds"


def over_seeds(count: int) -> str:
  """Returns what the cells of `mean_std` are, for a table's title."""
  spread = "" if count == 1 else "mean ± standard deviation over "
  return spread + num_seeds(count)


def natural_order(labels: Iterable[str]) -> list[str]:
  """Sorts labels by the numbers in them: "64", "256", "1,024"."""

  def key(label: str):
    parts = re.split(r"(\d+)", re.sub(r"(?<=\d),(?=\d)", "", label))
    # Words stand at even places, numbers at odd ones.
    parts[1::2] = map(int, parts[1::2])
    return parts

  return sorted(labels, key=key)


def render(
  columns: Sequence[str],
  rows: Sequence[Sequence[object]],
  title: str | None = None,
) -> str:
  """Returns a table as aligned plain text.

  Args:
    columns: headers.
    rows: cells; numbers are aligned to the right and floats are shortened.
    title: a line above the table.

  Raises:
    ValueError: a row has another number of cells than there are columns.
  """
  cells = [[_text(cell) for cell in row] for row in rows]
  for row in cells:
    if len(row) != len(columns):
      raise validate.error("rows", row, f"{len(columns)} cells, one per column")
  right = _numeric(columns, rows)
  widths = [
    max(len(line[i]) for line in [list(columns), *cells])
    for i in range(len(columns))
  ]

  def join(line: Sequence[str]) -> str:
    padded = [
      cell.rjust(width) if to_right else cell.ljust(width)
      for cell, width, to_right in zip(line, widths, right)
    ]
    return "  ".join(padded).rstrip()

  lines = [title] if title else []
  lines += [join(columns), "  ".join("-" * width for width in widths)]
  lines += [join(row) for row in cells]
  return "\n".join(lines)


def show(
  columns: Sequence[str],
  rows: Sequence[Sequence[Any]],
  title: str | None = None,
  stream: TextIO | None = None,
) -> str:
  """Prints a table to `sys.stdout`, or elsewhere; returns its plain text.

  That is what `render` returns.
  """
  stream = stream or sys.stdout
  text = render(columns, rows, title)
  if not (stream.isatty() and _show_rich(columns, rows, title, stream)):
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = text.encode(encoding, "replace").decode(encoding)
    if shown != text:
      shown = text.replace("±", "+-").encode(encoding, "replace")
      shown = shown.decode(encoding)
    print(shown, file=stream, flush=True)
  return text


def _show_rich(columns, rows, title, stream) -> bool:
  """Prints with rich; returns False where it would shorten cells."""
  # Not needed where there is no terminal.
  from rich import console
  from rich import table
  from rich import text

  grid = table.Table(title=title, title_justify="left")
  for column, numeric in zip(columns, _numeric(columns, rows)):
    grid.add_column(column, justify="right" if numeric else "left")
  for row in rows:
    # Cells are text, not markup: "[0, 1]" must stay.
    grid.add_row(*(text.Text(_text(cell)) for cell in row))
  terminal = console.Console(file=stream)
  unlimited = terminal.options.update(max_width=10_000)
  if terminal.measure(grid, options=unlimited).maximum > terminal.width:
    return False
  terminal.print(grid)
  return True


def _numeric(columns, rows) -> list[bool]:
  """Returns which columns hold numbers only."""
  cells = range(len(columns))
  return [bool(rows) and all(_is_number(r[i]) for r in rows) for i in cells]


def _is_number(cell: object) -> bool:
  return isinstance(cell, (int, float, np.number)) and not isinstance(
    cell, bool
  )


def _text(cell: Any) -> str:
  if isinstance(cell, (float, np.floating)):
    return f"{cell:.4g}"
  return str(cell)
