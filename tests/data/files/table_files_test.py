"""Tables in files of every origin."""

import os
import time

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data.files import table_files


def read(path, **options):
  return table_files.read(table_files.find(path), **options)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_names_between_quotes_behind_a_byte_order_mark(tmp_path, encoding):
  path = tmp_path / "a.csv"
  path.write_text('"id","x"\n"a","1"\n', encoding=encoding)
  table = read(path, words=("id",))
  assert table.names == ("id", "x")
  assert table.words["id"] == ["a"]
  assert table.numbers["x"].tolist() == [1]


def test_a_header_with_damaged_letters_is_refused(tmp_path):
  path = tmp_path / "a.csv"
  for content in (
    "id,größe\nä,1\n".encode().replace(b"\xc3\xb6", b"\xf6"),
    b"id,gr\xf6\x00e\na,1\n",
  ):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="line 1: got bytes .* encoding"):
      read(path)


def test_rows_without_a_value_keep_their_place(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text("\n\nx\n1\n\n \n4\n\n")
  table = read(path)
  np.testing.assert_array_equal(table.numbers["x"], [1, np.nan, np.nan, 4])
  assert table.line.tolist() == [4, 5, 6, 7]
  # A blank line between rows of several entries is none of them.
  path.write_text("x,y\n1,2\n\n , \n\n5,6\n")
  np.testing.assert_array_equal(read(path).numbers["y"], [2, np.nan, 6])
  path = tmp_path / "a.tsv"
  path.write_text("x\ty\n1\t2\n\t\n5\t6\n\n")
  np.testing.assert_array_equal(read(path).numbers["x"], [1, np.nan, 5])


def test_blank_lines_between_quotes_stay(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text('x,said\n1,"one\n\nthree"\n')
  table = read(path, words=("said",))
  assert table.words["said"] == ["one\n\nthree"]


def test_all_columns_of_words_are_named_at_once(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text("x,state,y,note\n1,on,,a\n2,off,,b\n")
  with pytest.raises(
    ValueError,
    match="columns 'state', 'note', .*ignore = 'state,note', .*get_dummies",
  ):
    read(path)
  # A column without any value is one of missing numbers.
  assert np.isnan(read(path, words=("state", "note")).numbers["y"]).all()


def test_pipes_in_a_folder_are_no_tables(tmp_path):
  (tmp_path / "a.csv").write_text("x\n1\n")
  os.mkfifo(tmp_path / "b.csv")
  assert [file.name for file in table_files.find(tmp_path)] == ["a.csv"]
  (tmp_path / "a.csv").unlink()
  with pytest.raises(data.MissingData, match="there is no table"):
    table_files.find(tmp_path)


def test_many_columns_take_time_in_proportion(tmp_path):
  seconds = []
  for count in (2_000, 16_000):
    path = tmp_path / f"{count}.csv"
    names = ",".join(f"c{i}" for i in range(count))
    path.write_text(f"{names}\n" + ",".join(["1"] * count) + "\n")
    begin = time.process_time()
    assert len(read(path).numbers) == count
    seconds.append(time.process_time() - begin)
  # Eight times as many columns; 64 times as long where each is looked for
  # among all others.
  assert seconds[1] < 24 * seconds[0] + 0.1


def test_a_damaged_parquet_file_is_named_in_one_line(tmp_path):
  pytest.importorskip("pyarrow")
  path = tmp_path / "a.parquet"
  for content in (b"", b"PAR1" + bytes(40), bytes(40)):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.parquet is no whole Parquet") as e:
      read(path)
    assert "\n" not in str(e.value)
