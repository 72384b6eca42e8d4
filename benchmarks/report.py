"""Tables of measured results, from their files into their pages.

  python -m benchmarks.report

A file `results/PAGE/NAME.toml` is one run: `command`, what prints its numbers;
`commit`, with which they were written down; `versions`; `seeds`; `machine`;
`time`, of the whole run; and `tables`, each of `columns` and `rows`, whose
cells are text as it was printed. What is not known is a dash and why, in
parentheses.
`results/fidelity.toml` has one entry for each paper, in `papers`.

The pages are `docs/results/PAGE.md`. Between two lines

    <!-- results: NAME -->
    <!-- end -->

come the command, the first table and the rest of the fields; between others
with `NAME 2` the second table alone. `fidelity` as a name is the table of
papers. All that is outside of these lines is written by hand.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
import re
import sys
import tomllib
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
PAGES = ROOT / "docs" / "results"
FIDELITY = "fidelity"
_MARK = re.compile(
  r"<!-- results: (\w+)(?: (\d+))? -->\n(.*?)<!-- end -->", re.S
)
_UNKNOWN = re.compile(r"- \(.+\)")


@dataclasses.dataclass(frozen=True)
class Table:
  """Numbers as they were printed.

  Attributes:
    columns: headings; some may be empty.
    rows: cells, as many as there are columns.
  """

  columns: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]

  def markdown(self) -> str:
    """Returns the table's lines."""
    lines = [self.columns, ("---",) * len(self.columns), *self.rows]
    # An empty cell is one space wide.
    return "\n".join(
      "|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|"
      for line in lines
    )


@dataclasses.dataclass(frozen=True)
class Run:
  """A run and its tables; fields are those of the module's docstring."""

  command: str
  commit: str
  versions: str
  seeds: str
  machine: str
  time: str
  tables: tuple[Table, ...]

  def markdown(self, number: int) -> str:
    """Returns a table's lines; with the first one those of the other fields."""
    table = self.tables[number].markdown()
    if number:
      return table
    command = "".join(f"    {line}\n" for line in self.command.split("\n"))
    facts = {
      "Seeds": self.seeds,
      "machine": self.machine,
      "time": self.time,
      "versions": self.versions,
      "commit": self.commit,
    }
    said = "; ".join(f"{name}: {value}" for name, value in facts.items())
    return f"{command}\n{table}\n\n*{said}.*"


def read(path: pathlib.Path) -> Run:
  """Reads a file of results.

  Raises:
    ValueError: a field is absent, unknown or empty, a dash says nothing of why,
      or a row is longer or shorter than its columns.
  """
  found = tomllib.loads(path.read_text(encoding="utf-8"))
  _check_fields(path, found, Run)
  tables = []
  for table in found.pop("tables"):
    _check_fields(path, table, Table)
    columns, rows = tuple(table["columns"]), tuple(map(tuple, table["rows"]))
    for row in rows:
      if len(row) != len(columns):
        raise ValueError(f"{path}: got {row}, expected {len(columns)} cells.")
    tables.append(Table(columns, rows))
  texts = {name: text.strip("\n") for name, text in found.items()}
  _check_texts(path, texts)
  return Run(**texts, tables=tuple(tables))


@dataclasses.dataclass(frozen=True)
class Paper:
  """What a paper reports, and what is reached here.

  Attributes:
    paper: what it is about, and its number on arXiv.
    published: its numbers.
    source: where they are from.
    reached: numbers of this project, of the same quantity where there are any.
    size: at which size they were reached.
    why: what stands in the way of more.
    page: where to read on, in docs.
  """

  paper: str
  published: str
  source: str
  reached: str
  size: str
  why: str
  page: str


def read_papers(path: pathlib.Path) -> tuple[Paper, ...]:
  """Reads the papers of `results/fidelity.toml`; raises as `read` does."""
  found = tomllib.loads(path.read_text(encoding="utf-8"))["papers"]
  for paper in found:
    _check_fields(path, paper, Paper)
    _check_texts(path, paper)
  return tuple(Paper(**paper) for paper in found)


def _check_fields(path, found: Mapping[str, Any], kind: type) -> None:
  expected = {field.name for field in dataclasses.fields(kind)}
  if set(found) != expected or not all(found.values()):
    empty = sorted(name for name, value in found.items() if not value)
    wrong = sorted(set(found) ^ expected) + empty
    raise ValueError(f"{path}: {', '.join(wrong)}: absent, unknown or empty.")


def _check_texts(path, texts: Mapping[str, str]) -> None:
  for name, text in texts.items():
    if text.startswith("-") and not _UNKNOWN.match(text):
      raise ValueError(f"{path}: {name}: got {text!r}, expected '- (why)'.")


def render(page: pathlib.Path) -> str:
  """Returns a page's text with the tables that the files say.

  Args:
    page: `docs/results/PAGE.md`.

  Raises:
    FileNotFoundError: a name has no file.
    ValueError: see `read`.
  """

  def between(match: re.Match[str]) -> str:
    name, number = match[1], int(match[2] or 1)
    if name == FIDELITY:
      text = _papers(read_papers(RESULTS / f"{FIDELITY}.toml"))
    else:
      run = read(RESULTS / page.stem / f"{name}.toml")
      text = run.markdown(number - 1)
    mark = match[0].split("\n", 1)[0]
    return f"{mark}\n\n{text}\n\n<!-- end -->"

  return _MARK.sub(between, page.read_text(encoding="utf-8"))


def _papers(papers: tuple[Paper, ...]) -> str:
  columns = ("paper", "published", "reached here", "why not more")
  rows = [
    (
      paper.paper,
      f"{paper.published} ({paper.source})",
      f"{paper.reached}; {paper.size} ([page]({paper.page}))",
      paper.why,
    )
    for paper in papers
  ]
  return Table(columns, tuple(rows)).markdown()


def main() -> None:
  for page in sorted(PAGES.glob("*.md")):
    page.write_text(render(page), encoding="utf-8")
    print(page.relative_to(ROOT))


if __name__ == "__main__":
  sys.exit(main())
