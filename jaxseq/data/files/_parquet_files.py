"""Tables in Parquet files, read by the package pyarrow."""

from collections.abc import Iterator
from collections.abc import Sequence
import os
import pathlib
from typing import Any

import numpy as np

from jaxseq import limits
from jaxseq.data import packages
from jaxseq.data.files import columns

SUFFIXES = (".parquet", ".pq")


def opened(path: pathlib.Path) -> Any:
  """Opens a file; raises ValueError if it is damaged."""
  parquet = packages.imported(
    "pyarrow.parquet", "jaxseq[table]", f"{path} is a Parquet file"
  )
  try:
    limits.check_regular(path)
    return parquet.ParquetFile(path)
  except _arrow_errors() as error:
    raise _damaged(path, error) from error


def _arrow_errors():
  """Returns the errors that pyarrow raises for damaged files."""
  import pyarrow  # The extra "table".

  return pyarrow.ArrowException, OSError


def _damaged(path, error):
  """Returns the error for a damaged file, in one line."""
  said = " ".join(str(error).split()).rstrip(".")
  return ValueError(f"{path} is no whole Parquet file: {said}.")


def chunks(
  path: pathlib.Path, words: Sequence[str], numbers: Sequence[str], size: int
) -> Iterator[tuple[list[int], dict[str, Any]]]:
  """Yields row numbers and the columns' entries, `size` rows at a time."""
  column_names = [*words, *numbers]
  # Repeated words stay one copy, however often the file repeats them.
  parquet = packages.imported("pyarrow.parquet", "jaxseq[table]", str(path))
  try:
    limits.check_regular(path)
    with parquet.ParquetFile(path, read_dictionary=words) as file:
      count = file.metadata.num_rows
      held = 8 * count * max(1, len(column_names))
      limits.check_growth(path, held, os.path.getsize(path))
      start = 0
      for batch in file.iter_batches(size, columns=column_names):
        # Detects word indices beyond their list, and similar damage.
        batch.validate(full=True)
        lines = list(range(start, start + batch.num_rows))
        start += batch.num_rows
        if start > count:
          raise ValueError(f"{path}: got more rows than its {count}.")
        entries: dict[str, Any] = {
          name: _words(batch.column(name)) for name in words
        }
        for name in numbers:
          entries[name] = _floats(path, lines, batch.column(name), name)
        yield lines, entries
  except _arrow_errors() as error:
    raise _damaged(path, error) from error


def _words(array):
  """Returns entries as a text file would have them."""
  if hasattr(array, "dictionary"):
    entries = _words(array.dictionary)
    places = array.indices.to_pylist()
    return ["" if place is None else entries[place] for place in places]
  return ["" if v is None else str(v).strip() for v in array.to_pylist()]


def _floats(path, lines, array, name):
  """Converts a column of numbers to (rows,) float64."""
  import pyarrow  # The extra "table".

  kind = array.type
  plain = (
    pyarrow.types.is_integer(kind)
    or pyarrow.types.is_floating(kind)
    or pyarrow.types.is_boolean(kind)
    or pyarrow.types.is_decimal(kind)
  )
  if not plain:
    words = _words(array)
    try:
      return np.array([columns.number(word, name) for word in words])
    except ValueError as error:
      raise ValueError(
        f"{path}: {error} The column is of type {kind}."
      ) from error
  values = array.cast(pyarrow.float64(), safe=False)
  values = values.to_numpy(zero_copy_only=False).astype(np.float64)
  return columns.finite(path, lines, values, name)
