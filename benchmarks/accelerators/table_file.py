"""Measured rows, written into `jaxseq/recurrence/platform/table.py`."""

import ast
from collections.abc import Iterable
import inspect
import pathlib
import runpy

from jaxseq.recurrence.platform import table

_BEGIN = "ROWS: tuple[Row, ...] = ("


def default() -> pathlib.Path:
  """The file of the `jaxseq` that is running."""
  return pathlib.Path(inspect.getsourcefile(table) or "")


def source(row: table.Row) -> str:
  """A row as the file has it, one field a line."""
  fields = "".join(f"    {value!r},\n" for value in row)
  return f"  Row(\n{fields}  ),\n".replace("'", '"')


def write(rows: Iterable[table.Row], path: pathlib.Path) -> None:
  """Puts rows into a file, in the place of earlier ones of the same problem.

  Args:
    rows: that were measured.
    path: the file; what else stands in it stays.
  """
  text = path.read_text()
  (node,) = (
    node
    for node in ast.parse(text).body
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ROWS"
  )
  earlier = runpy.run_path(str(path))["ROWS"]
  merged = {row[:4]: row for row in (*earlier, *rows)}
  lines = text.splitlines(keepends=True)
  new = f"{_BEGIN}\n{''.join(map(source, merged.values()))})\n"
  path.write_text(
    "".join([*lines[: node.lineno - 1], new, *lines[node.end_lineno :]])
  )
