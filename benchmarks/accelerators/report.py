"""Rows of the benchmark: as lines of JSON while it runs, as a table at last."""

from collections.abc import Iterable
import json
import pathlib
from typing import Any

Row = dict[str, Any]


class Report:
  """What was found, printed and written as it comes.

  Args:
    directory: where `rows.jsonl` and `table.md` go; it is made.
  """

  def __init__(self, directory: pathlib.Path):
    directory.mkdir(parents=True, exist_ok=True)
    self._directory = directory
    self._lines = directory / "rows.jsonl"
    self._lines.write_text("")
    self.rows: list[Row] = []

  def add(self, row: Row) -> None:
    """Writes a row, and prints it on one line.

    Args:
      row: "what" it is ("machine", "check", "time", "program", "tuned", "note")
        and what was found.
    """
    self.rows.append(row)
    with self._lines.open("a") as file:
      file.write(json.dumps(row) + "\n")
    print(line(row), flush=True)

  def finish(self) -> str:
    """Writes the table, and returns it."""
    text = markdown(self.rows)
    (self._directory / "table.md").write_text(text)
    return text


def line(row: Row) -> str:
  """A row in short words."""
  rest = {key: value for key, value in row.items() if key != "what"}
  words = (f"{key}={_word(value)}" for key, value in rest.items())
  return f"{row['what']}: " + ", ".join(words)


def markdown(rows: Iterable[Row]) -> str:
  """All rows as tables: at most some 12,000 characters for a full run."""
  by_what: dict[str, list[Row]] = {}
  for row in rows:
    by_what.setdefault(row["what"], []).append(row)
  parts = []
  for row in by_what.get("machine", []):
    found = (f"{k} {_word(v)}" for k, v in row.items() if k != "what")
    parts.append(", ".join(found))
  parts.append(_wrong(by_what.get("check", [])))
  parts.append(_times(by_what.get("time", [])))
  parts.append(
    _table(
      ("program", "ms", "spread", "per second", "unit", "compile s"),
      [
        (r["program"], r["ms"], r["spread"], r["rate"], r["unit"], r["compile"])
        for r in by_what.get("program", [])
      ],
    )
  )
  parts.append("\n".join(r["row"] for r in by_what.get("tuned", [])))
  parts.append("; ".join(r["note"] for r in by_what.get("note", [])))
  return "\n\n".join(part for part in parts if part) + "\n"


def _wrong(checks):
  """How many methods are right, and the lines of the others."""
  if not checks:
    return ""
  ran = [row for row in checks if row["forward"] is not None]
  wrong = [row for row in checks if not row["right"]]
  lines = [f"{len(checks) - len(wrong)} of {len(ran)} methods that ran right"]
  return "\n".join([*lines, *map(line, wrong)])


def _times(rows):
  """One line for each problem and kind: ours and peers side by side."""
  lines = []
  grouped: dict[tuple, list[Row]] = {}
  for row in rows:
    grouped.setdefault((row["name"], row["kind"]), []).append(row)
  for (name, kind), group in grouped.items():
    ours = [row for row in group if "peer" not in row]
    first = ours[0] if ours else {}
    fastest = min((r for r in ours if "ms" in r), key=_ms, default=None)
    lines.append(
      (
        name,
        kind,
        first.get("floor"),
        None if fastest is None else first["floor"] / fastest["ms"],
        None if fastest is None else fastest["gb_s"],
        first.get("auto"),
        "; ".join(_cell(row) for row in ours),
        "; ".join(_cell(row) for row in group if "peer" in row),
      )
    )
  head = "row", "kind", "floor ms", "share", "GB/s", "auto", "ours ms", "peers"
  return _table(head, lines)


def _ms(row):
  return row["ms"]


def _cell(row):
  """A method or a peer with its time, or why there is none."""
  name = row.get("peer", row.get("method"))
  if "ms" not in row:
    return f"{name}: {row['note'][:60]}"
  text = f"{name} {_word(row['ms'])}"
  if row["spread"] > 0.1:
    text += f" ±{100 * row['spread']:.0f}%"
  if row.get("temporary") is not None:
    text += f" {row['temporary'] / 1e6:.0f}MB"
  if row.get("compile") is not None:
    text += f" {row['compile']:.0f}s"
  if row.get("error") is not None and row["error"] > 0.05:
    text += f" (error {_word(row['error'])})"
  if row.get("remark"):
    text += f" ({row['remark']})"
  return text


def _table(head, rows):
  if not rows:
    return ""
  lines = [head, ["---"] * len(head)]
  lines += [[_word(cell) for cell in row] for row in rows]
  return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _word(value):
  """A number with three digits; nothing for None."""
  if value is None:
    return "-"
  if isinstance(value, float):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
  return str(value)
