"""Tables in the forms that spreadsheet programs and exports have."""

import bz2
import gzip
import lzma
import zipfile

import numpy as np
import pytest

from jaxseq import limits
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms

_GERMAN = "Straße;Umsatz;Menge\nMöwenweg;1.234,56;2\nOst;-0,5;3\n"


def read(path, words=("Straße",), **options):
  form = text_forms.Form(**options)
  return table_files.read(table_files.find(path), words, form=form)


def write(path, content, encoding="utf-8"):
  path.write_bytes(content.encode(encoding))
  return path


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16"])
def test_a_table_of_a_german_excel_is_read(tmp_path, caplog, encoding):
  table = read(write(tmp_path / "a.csv", _GERMAN, encoding))
  assert table.words["Straße"] == ["Möwenweg", "Ost"]
  assert table.numbers["Umsatz"].tolist() == [1234.56, -0.5]
  assert table.numbers["Menge"].tolist() == [2, 3]
  (told,) = caplog.messages
  assert "with ';' between values, with decimal commas" in told
  assert ("in cp1252" in told) == (encoding == "cp1252")


@pytest.mark.parametrize("sign", [";", ",", "\t"])
def test_a_first_line_may_name_the_delimiter(tmp_path, sign):
  text = f'sep={sign}\r\nid{sign}x\r\n"a{sign}b"{sign}1.5\r\n'
  path = write(tmp_path / "a.csv", text, "utf-8-sig")
  table = read(path, ("id",))
  assert table.words["id"] == [f"a{sign}b"]
  assert table.numbers["x"].tolist() == [1.5]
  assert table.place(0) == f"{path}, line 3"
  german = write(tmp_path / "b.csv", f"SEP=;\n{_GERMAN}", "cp1252")
  assert read(german).numbers["Umsatz"].tolist() == [1234.56, -0.5]
  # A column may have such a name.
  path = write(tmp_path / "c.csv", "sep=a,x\n1,2\n")
  assert read(path, ()).names == ("sep=a", "x")


def test_options_go_before_what_is_found(tmp_path, caplog):
  path = write(tmp_path / "a.csv", _GERMAN, "cp1252")
  with pytest.raises(ValueError, match="line 1: got bytes that are no UTF-8"):
    read(path, encoding="utf-8")
  options = {"encoding": "cp1252", "delimiter": ";", "decimal": "."}
  caplog.clear()
  with pytest.raises(ValueError, match="line 2: .*1.234,56', .* decimal = ','"):
    read(path, **options)
  assert not caplog.messages
  assert read(path, **{**options, "decimal": ","}).numbers["Menge"][0] == 2
  for name, value in (
    *(("encoding", x) for x in ("utf-9", "base64", "idna", "a\0b")),
    *(("delimiter", ";;"), ("decimal", ";"), ("date_format", "day")),
  ):
    with pytest.raises(ValueError, match=f"{name}: got .*, expected"):
      text_forms.Form(**{name: value})


def test_commas_that_may_stand_between_thousands_are_asked_for(tmp_path):
  path = write(tmp_path / "a.tsv", "x\ty\n1,234\t1\n5,678\t2\n")
  with pytest.raises(ValueError, match="'1,234', .* decimal = ','.*thousands"):
    read(path, ())
  assert read(path, (), decimal=",").numbers["x"].tolist() == [1.234, 5.678]
  # A number that cannot be one of thousands settles it.
  path = write(tmp_path / "b.tsv", "x\ty\n1,234\t1\n5,6\t2\n")
  assert read(path, ()).numbers["x"].tolist() == [1.234, 5.6]
  # Points are between thousands then, and alone they are not read.
  path = write(tmp_path / "c.csv", "x;y\n1,5;\n2,5;1.234\n")
  with pytest.raises(ValueError, match="line 3: column 'y': got '1.234', exp"):
    read(path, (), decimal=",")


def test_one_form_is_left_alone(tmp_path, caplog):
  path = write(tmp_path / "a.csv", "id,x\n1;2,1.5\n")
  assert read(path, ("id",)).words["id"] == ["1;2"]
  path = write(tmp_path / "b.csv", "Straße,x\na,1.5\n")
  assert read(path).numbers["x"].tolist() == [1.5]
  assert not caplog.messages


def packed(path, kind, content):
  if kind == "zip":
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
      file.writestr("a.csv", content)
    return
  if kind == "zstd":
    arrow = pytest.importorskip("pyarrow")
    data = arrow.compress(content, "zstd", asbytes=True)
  else:
    pack = {"gzip": gzip, "bzip2": bz2, "xz": lzma}[kind].compress
    data = pack(content)
  path.write_bytes(data)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zip", "zstd"])
def test_compressed_tables_are_read_within_bounds(
  tmp_path, caplog, monkeypatch, kind
):
  ends = {"gzip": "gz", "bzip2": "bz2", "zstd": "zst"}
  path = tmp_path / f"a.tsv.{ends.get(kind, kind)}"
  packed(path, kind, b"x\ty\n1.5\t2\n")
  # A folder has them, too.
  table = read(tmp_path, ())
  assert table.numbers["x"].tolist() == [1.5]
  assert caplog.messages[0].startswith(f"{path}: read as a table by {kind}, by")
  assert table.place(0) == f"{path}, line 2"
  whole = path.read_bytes()
  path.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(ValueError, match=rf"is no whole {kind} file: .*[^.]\.$"):
    read(path, ())
  monkeypatch.setattr(limits, "FREE", 1000)
  monkeypatch.setattr(limits, "RATIO", 2)
  packed(path, kind, b"x\ty\n" + b"1\t2\n" * 100_000)
  with pytest.raises(ValueError, match=r"would take \d+ in memory, expected"):
    read(path, ())


def test_workbooks_and_zip_files_of_several_tables_are_refused(tmp_path):
  path = tmp_path / "a.xlsx"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("[Content_Types].xml", "")
  with pytest.raises(ValueError, match="got a workbook of Excel.* as CSV"):
    read(path)
  path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(100))
  with pytest.raises(ValueError, match="got a workbook of Excel.* as CSV"):
    read(path)
  with zipfile.ZipFile(path, "w") as file:
    for name in ("a.csv", "b.csv", "folder/"):
      file.writestr(name, "")
  with pytest.raises(ValueError, match="got 2 files in a zip file.* Unpack it"):
    read(path)


def test_frames_of_arrow_are_read_as_those_of_pandas(tmp_path):
  arrow = pytest.importorskip("pyarrow")
  pytest.importorskip("pandas")
  frame = arrow.table({"id": ["a", None], "x": [1, None]})
  table = table_files.read(table_files.find(frame), ("id",))
  assert table.words["id"] == ["a", ""]
  np.testing.assert_array_equal(table.numbers["x"], [1, np.nan])
