"""Predictions as a table of named columns, and its files."""

from collections.abc import Iterator
from collections.abc import Mapping
import csv
import importlib
import io
import os
import pathlib
from typing import Any

import numpy as np

from jaxseq import validate
from jaxseq.data import packages
from jaxseq.training import files

SUFFIXES = (".csv", ".parquet")


class Predictions(Mapping[str, np.ndarray]):
  """A table of predictions: columns by name, all of one length.

    predictions = model.predict("new.csv")
    predictions["class"]           # (rows,) names
    predictions.arrays             # the arrays behind the columns
    predictions.write("out.csv")

  Attributes:
    columns: columns by name, (rows,) numbers, names or times.
    arrays: the network's outputs by name, (examples, ...).
  """

  def __init__(
    self,
    columns: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
  ):
    self.columns = {name: np.asarray(x) for name, x in columns.items()}
    self.arrays = dict(arrays or {})
    lengths = {name: x.shape for name, x in self.columns.items()}
    if len(set(lengths.values())) > 1 or any(
      len(s) != 1 for s in lengths.values()
    ):
      raise validate.error("columns", lengths, "one length, of one axis")

  def __getitem__(self, name: str) -> np.ndarray:
    return self.columns[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self.columns)

  def __len__(self) -> int:
    return len(self.columns)

  def __repr__(self) -> str:
    listed = ", ".join(self.columns)
    return f"Predictions({self.num_rows} rows of {listed})"

  @property
  def num_rows(self) -> int:
    """Number of rows."""
    return len(next(iter(self.columns.values()), ()))

  def write(self, path: str | os.PathLike) -> None:
    """Writes the table to a new file.

    Args:
      path: a file whose name ends in .csv or .parquet. Numbers in a CSV file
        have enough digits to be read back exactly; unknown values are empty.

    Raises:
      ValueError: see `check_output`.
      OSError: if the file cannot be written.
    """
    path = check_output(path)
    if path.suffix.lower() == ".csv":
      files.write_text(path, self.to_csv())
    else:
      files.write_bytes(path, self._to_parquet())

  def to_csv(self) -> str:
    """Returns the table as CSV, with a header line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(self.columns)
    writer.writerows(zip(*map(_words, self.columns.values())))
    return out.getvalue()

  def _to_parquet(self):
    """Returns the table as the bytes of a Parquet file."""
    pyarrow, parquet = _pyarrow()
    out = io.BytesIO()
    columns = {
      name: x.tolist() if x.dtype.kind in "UO" else x
      for name, x in self.columns.items()
    }
    parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


def check_output(path: str | os.PathLike) -> pathlib.Path:
  """Checks that a table can be written to a path, and returns the path.

  Raises:
    ValueError: if the file exists, or its suffix is not in `SUFFIXES`.
    OSError: if there is no such directory.
    MissingData: if the suffix needs a package that is not installed.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() not in SUFFIXES:
    raise validate.error(
      "output", str(path), "a name that ends in .csv or .parquet"
    )
  if path.exists():
    raise validate.error("output", str(path), "a file that is not there yet")
  if not path.parent.is_dir():
    raise FileNotFoundError(2, "there is no such directory", str(path.parent))
  if path.suffix.lower() == ".parquet":
    _pyarrow()
  return path


def _words(column):
  """Formats a column for CSV."""
  if column.dtype.kind == "f":
    # The shortest text that reads back as the same number of this dtype.
    return ["" if x != x else str(x) for x in column]
  if column.dtype.kind == "M":
    whole = column.astype("datetime64[s]")
    if np.array_equal(whole[~np.isnat(whole)], column[~np.isnat(column)]):
      column = whole
    return ["" if np.isnat(x) else str(x) for x in column]
  if column.dtype.kind == "b":
    return [str(int(x)) for x in column]
  return column.tolist()


def _pyarrow():
  """Returns the packages pyarrow and pyarrow.parquet."""
  parquet = packages.imported(
    "pyarrow.parquet", "jaxseq[table]", "pyarrow writes Parquet files"
  )
  return importlib.import_module("pyarrow"), parquet
