"""Tables of predictions and their files."""

import csv

import numpy as np
import pytest

from jaxseq.models import predictions

TABLE = {
  "id": ("a, b", 'c"d', "ü"),
  "x": np.array([0.1, np.nan, 1e-30], np.float32),
  "count": np.array([1, 2, 3]),
  "time": np.array(["2024-01-01", "NaT", "2024-01-03"], "datetime64[D]"),
}


def test_numbers_read_from_csv_are_the_same_numbers(tmp_path):
  rng = np.random.default_rng(0)
  bits = rng.integers(0, 2**32, 2000, dtype=np.uint32).view(np.float32)
  values = bits[np.isfinite(bits)]
  table = predictions.Predictions({"x": values, "y": values.astype(float)})
  table.write(tmp_path / "a.csv")
  with open(tmp_path / "a.csv", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
  np.testing.assert_array_equal([np.float32(r["x"]) for r in rows], values)
  np.testing.assert_array_equal([float(r["y"]) for r in rows], values)


def test_names_and_unknown_values(tmp_path):
  table = predictions.Predictions(TABLE)
  assert table.num_rows == 3
  assert list(table) == list(TABLE)
  path = tmp_path / "a.csv"
  table.write(path)
  with open(path, encoding="utf-8", newline="") as file:
    rows = list(csv.reader(file))
  assert rows == [
    ["id", "x", "count", "time"],
    ["a, b", "0.1", "1", "2024-01-01T00:00:00"],
    ['c"d', "", "2", ""],
    ["ü", "1e-30", "3", "2024-01-03T00:00:00"],
  ]
  fine = np.array(["2024-01-01T00:00:00.5"], "datetime64[ms]")
  assert "T00:00:00.500" in predictions.Predictions({"time": fine}).to_csv()


def test_parquet_holds_the_same_table(tmp_path):
  parquet = pytest.importorskip("pyarrow.parquet")
  predictions.Predictions(TABLE).write(tmp_path / "a.parquet")
  found = parquet.read_table(tmp_path / "a.parquet")
  assert found.column_names == list(TABLE)
  assert found["id"].to_pylist() == list(TABLE["id"])
  np.testing.assert_array_equal(found["x"].to_numpy(), TABLE["x"])
  np.testing.assert_array_equal(found["count"].to_numpy(), TABLE["count"])
  np.testing.assert_array_equal(
    found["time"].to_numpy().astype("datetime64[D]"), TABLE["time"]
  )


def test_files_that_cannot_be_written_get_one_sentence(tmp_path):
  table = predictions.Predictions(TABLE)
  table.write(tmp_path / "a.csv")
  for path, message in (
    ("a.csv", "not there yet"),
    ("a.txt", "ends in .csv or .parquet"),
  ):
    with pytest.raises(ValueError, match=message):
      table.write(tmp_path / path)
  with pytest.raises(FileNotFoundError, match="no such directory"):
    table.write(tmp_path / "absent" / "a.csv")


def test_columns_have_one_length():
  with pytest.raises(ValueError, match="columns: got"):
    predictions.Predictions({"a": [1, 2], "b": [1]})
  assert predictions.Predictions({"a": []}).num_rows == 0
