"""Series in tables of one's own."""

import json

import numpy as np
import pytest

from jaxseq import data
from jaxseq import limits
from tests.data import writing

LONG = """id,time,x,y,label
a,1,1.5,2,run
b,0,0.3,4,walk
a,0,1.7,NA,run

b,2,0.1,5,walk
b,1,0.2,6,walk
c,0,0.4,7,run
d,0,0.6,8,walk
"""
WIDE = """name,x_0,x_1,x_2,y_0,y_1,y_2,label
a,1,2,,3,4,,run
b,4,5,6,7,8,9,walk
c,1,,,2,,,run
d,0,,,1,,,walk
"""
HALF = {"test_fraction": 0.5, "valid_fraction": 0}


def write(folder, **texts):
  writing.write(folder, {f"{name}.csv": text for name, text in texts.items()})
  return folder / f"{next(iter(texts))}.csv"


def load(path, **options):
  options = {"id": "id", "label": "label", "normalize": False, **options}
  return data.load("table", path=path, **{**HALF, **options})


def everything(splits, options=()):
  """All examples, read again by the preparation after it was JSON."""
  fields = json.loads(json.dumps(splits.info.preparation.to_json()))
  prepared = data.sources.from_json(fields)
  return prepared.read(splits.info.source)


def test_long_tables_become_series_in_the_order_of_time(tmp_path):
  path = write(tmp_path, long=LONG)
  splits = load(path, time="time", missing="forward_fill", gaps="ignore")
  assert splits.info.classes == ("run", "walk")
  assert splits.info.channels == ("x", "y")
  assert [len(part.inputs) for part in (splits.train, splits.test)] == [2, 2]
  found = everything(splits)
  assert found.ids == ("a", "b", "c", "d")
  assert found.labeled
  assert found.dataset.targets.tolist() == [0, 1, 0, 1]
  assert found.dataset.lengths.tolist() == [2, 3, 1, 1]
  np.testing.assert_allclose(
    found.dataset.inputs[1], [[0.3, 4], [0.2, 6], [0.1, 5]], rtol=1e-6
  )
  np.testing.assert_allclose(found.dataset.inputs[0, :2, 0], [1.7, 1.5])
  assert not found.dataset.extras.observed[0, 0, 1]
  # Without the labels the series are read as well.
  new = path.with_name("new.csv")
  new.write_text("y,id,time,x\n1,q,0,2\n1,q,1,2\n")
  read = splits.info.preparation.read(new)
  assert not read.labeled
  assert read.dataset.inputs[0].tolist() == [[2, 1], [2, 1], [0, 0]]
  assert read.dataset.targets.tolist() == [-1]


def test_wide_tables_have_channels_by_name_and_steps_by_number(tmp_path):
  splits = load(write(tmp_path, wide=WIDE), layout="wide", id="name")
  assert splits.info.channels == ("x", "y")
  found = everything(splits).dataset
  assert found.lengths.tolist() == [2, 3, 1, 1]
  assert found.inputs[1].tolist() == [[4, 7], [5, 8], [6, 9]]


def test_wide_tables_of_one_channel_keep_the_order_of_columns(tmp_path):
  text = "first,second,label\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n"
  splits = load(write(tmp_path, wide=text), layout="wide", id=None)
  found = everything(splits)
  assert splits.info.channels == ("value",)
  assert splits.info.classes == ("0", "1")
  assert found.ids == ("0", "1", "2", "3")
  assert found.dataset.inputs[..., 0].tolist() == [
    [1, 2],
    [3, 4],
    [5, 6],
    [7, 8],
  ]


def test_constants_are_those_of_the_training_part(tmp_path):
  path = write(
    tmp_path,
    train="id,x,label\na,1,p\na,3,p\nb,1,q\nb,3,q\n",
    test="id,x,label\na,10,p\nb,20,q\n",
  )
  splits = load(path, test_path=path.with_name("test.csv"), normalize=True)
  assert splits.valid is None
  assert splits.info.mean == [2]
  assert splits.train.inputs[0, :, 0].tolist() == [-1, 1]
  assert splits.test.inputs[:, 0, 0].tolist() == [8, 18]


def test_no_group_is_divided_beside_files_for_testing(tmp_path):
  rows = [f"{i},{i},{'pq'[i % 2]},{i // 4}" for i in range(40)]
  names = "id,x,label,person\n"
  path = write(
    tmp_path,
    train=names + "\n".join(rows),
    test=names + "a,1,p,new\nb,2,q,new\n",
  )
  options = {"group": "person", "valid_fraction": 0.3, "normalize": False}
  splits = load(path, test_path=path.with_name("test.csv"), **options)
  train, valid = (
    {int(x) // 4 for x in part.inputs.ravel()} for part in splits[:2]
  )
  assert len(valid) == 3
  assert not train & valid
  write(tmp_path, test=names + "a,1,p,new\nb,2,q,3\n")
  with pytest.raises(ValueError, match="test.csv, line 3: .*got '3' in the te"):
    load(path, test_path=path.with_name("test.csv"), **options)


def test_long_series_are_cut_into_pieces(tmp_path):
  rows = [f"{i},{t},{'pq'[i % 2]}" for i in range(4) for t in range(7)]
  path = write(tmp_path, long="\n".join(["id,x,label", *rows]))
  splits = load(path, window=3)
  assert splits.train.inputs[..., 0].tolist() == [[0, 1, 2], [3, 4, 5]] * 2
  assert splits.train.lengths is None
  found = everything(splits)
  assert found.ids == tuple(
    f"{i}:{start}" for i in range(4) for start in (0, 3)
  )
  assert found.dataset.targets.tolist() == [0, 0, 1, 1] * 2
  # All pieces of a series are in one part.
  for part in (splits.train, splits.test):
    assert np.bincount(part.targets).tolist() == [2, 2]
  path = write(tmp_path, one="id,x\n" + "".join(f"a,{t}\n" for t in range(12)))
  splits = load(path, label=None, window=3)
  assert splits.test.inputs[..., 0].tolist() == [[6, 7, 8], [9, 10, 11]]
  with pytest.raises(ValueError, match="window: got 13, expected at most 12"):
    load(path, label=None, window=13)


def test_irregular_times_are_gaps(tmp_path):
  text = "id,time,x,label\n" + "".join(
    f"{i},2024-01-01 00:0{m}:00,{m},{'pq'[i % 2]}\n"
    for i in range(4)
    for m in (0, 1, 2, 5)
  )
  path = write(tmp_path, long=text)
  splits = load(path, time="time")
  assert splits.info.channels == ("x", "time since the element before")
  assert splits.train.inputs[0].tolist() == [[0, 1], [1, 1], [2, 1], [5, 3]]
  assert splits.info.preparation.step == 60
  splits = load(path, time="time", gaps="extras")
  assert splits.train.inputs.shape == (2, 4, 1)
  assert splits.train.extras.gaps[0].tolist() == [1, 1, 1, 3]
  assert everything(splits).dataset.extras.gaps[0].tolist() == [1, 1, 1, 3]
  assert load(path, time="time", gaps="ignore").train.extras.gaps is None


def test_numbers_to_predict(tmp_path):
  text = "id,x,age\n" + "".join(f"{i},{i},{i}.5\n" for i in range(4))
  path = write(tmp_path, long=text)
  splits = load(path, label="age", normalize=True)
  assert splits.info.num_classes is None
  assert splits.train.targets.shape == (2, 1)
  np.testing.assert_allclose(sorted(splits.train.targets[:, 0]), [-1, 1])
  prepared = splits.info.preparation
  found = prepared.restore_targets(everything(splits).dataset.targets)
  np.testing.assert_allclose(found[:, 0], [0.5, 1.5, 2.5, 3.5], rtol=1e-6)
  # Whole numbers are classes unless they are said to be numbers.
  splits = load(path, label="x", channels="age", target="number")
  assert splits.info.num_classes is None


def test_numbers_at_every_element(tmp_path):
  text = "id,x,y\n" + "".join(
    f"{i},{i},{t}\n" for i in range(4) for t in range(3)
  )
  splits = load(write(tmp_path, long=text), label="y", target="step")
  assert splits.train.targets.shape == (2, 3, 1)
  assert splits.train.targets[0, :, 0].tolist() == [0, 1, 2]
  assert everything(splits).dataset.targets.shape == (4, 3, 1)


def test_a_file_of_labels(tmp_path):
  path = write(
    tmp_path,
    long="id,x\n" + "".join(f"s{i},{i}\n" for i in range(4)),
    labels="label,id\nq,s3\np,s0\nq,s1\np,s2\n",
  )
  splits = load(path, labels=path.with_name("labels.csv"))
  assert splits.info.classes == ("p", "q")
  for part in (splits.train, splits.test):
    for x, y in zip(part.inputs[:, 0, 0], part.targets):
      assert y == (0 if x in (0, 2) else 1)
  short = write(tmp_path, few="id,label\ns0,p\n")
  with pytest.raises(ValueError, match="line 3: got the series 's1', wh"):
    load(path, labels=short)


def test_series_may_be_files(tmp_path):
  for name in "abcd":
    (tmp_path / "runs").mkdir(exist_ok=True)
    label = "p" if name in "ab" else "q"
    write(tmp_path / "runs", **{name: f"x,label\n1,{label}\n2,{label}\n"})
  for path in (tmp_path / "runs", tmp_path / "runs" / "*.csv"):
    splits = load(path, id=None)
    assert everything(splits).ids == ("a", "b", "c", "d")
    assert splits.train.inputs.shape == (2, 2, 1)


def test_parquet_files_are_read_as_the_same_table(tmp_path):
  parquet = pytest.importorskip("pyarrow.parquet")
  csv = pytest.importorskip("pyarrow.csv")
  path = write(tmp_path, long=LONG)
  other = path.with_suffix(".parquet")
  options = csv.ConvertOptions(null_values=["NA"])
  parquet.write_table(csv.read_csv(path, convert_options=options), other)
  wanted = load(path, time="time", missing="mask")
  found = load(other, time="time", missing="mask")
  for one, two in zip(wanted.train[:2], found.train[:2]):
    np.testing.assert_array_equal(one, two)
  with pytest.raises(ValueError, match="row 2: column 'y': got nothing"):
    load(other, time="time")


def test_divisions(tmp_path):
  rows = [
    f"{i},2024-01-{i + 1:02},{i},{'pq'[i % 2]},{'abcde'[i // 2]},"
    f"{('train', 'valid', 'Test')[i % 3]}"
    for i in range(10)
  ]
  path = write(tmp_path, long="\n".join(["id,time,x,label,person,part", *rows]))
  named = {"ignore": "time,person", "split": "part"}
  splits = load(path, **named)
  assert splits.valid.inputs.ravel().tolist() == [1, 4, 7]
  assert splits.test.inputs.ravel().tolist() == [2, 5, 8]
  splits = load(
    path,
    time="time",
    by_time=True,
    ignore="person,part",
    valid_fraction=0.2,
    test_fraction=0.2,
  )
  assert splits.valid.inputs.ravel().tolist() == [6, 7]
  assert splits.test.inputs.ravel().tolist() == [8, 9]
  splits = load(
    path,
    group="person",
    ignore="time,part",
    valid_fraction=0.2,
    test_fraction=0.4,
  )
  groups = [{int(x) // 2 for x in part.inputs.ravel()} for part in splits[:3]]
  assert [len(group) for group in groups] == [2, 1, 2]
  assert not groups[0] & groups[2]
  with pytest.raises(ValueError, match="csv, line 3: column 'person': got"):
    load(path, group="person", split="part", ignore="time")
  with pytest.raises(ValueError, match="split and by_time: got all of them"):
    load(path, time="time", by_time=True, split="part", ignore="person")
  # Of each class the same share.
  splits = load(path, ignore="time,person,part", test_fraction=0.4)
  assert np.bincount(splits.test.targets).tolist() == [2, 2]


@pytest.mark.parametrize(
  ("text", "options", "message"),
  [
    ("", {}, "long.csv, line 1: got no line, expected the names"),
    ("id,x,x\n", {}, "line 1: got the column 'x' twice"),
    ("id,,x\n", {}, "line 1: column 2 has no name, .* index=False"),
    ("id;x;label\n", {}, "long.csv: got no rows"),
    ("id,x,label\n", {}, "long.csv: got no rows"),
    ("id,x,lable\na,1,p\n", {}, "no column 'label', .*did you mean lable"),
    ("id,x,label\na,1,p\na,1\n", {}, "line 3: got 2 of 3 entries"),
    (
      "id,x,label\na,1,p\n\na,'1,p\n",
      {},
      "line 4: column 'x': got \"'1\", exp",
    ),
    (
      "id,x,label\na,inf,p\n",
      {},
      "line 2: column 'x': got 'inf', expected",
    ),
    (
      "id,x,label\na,1_0,p\n",
      {},
      "line 2: column 'x': got '1_0', expect",
    ),
    ("id,x,label\na,1e39,p\n", {}, "line 2: column 'x': got '1e39', expected"),
    (
      "id,x,y,label\na,1,ann,p\nb,1,bo,q\n",
      {},
      "column 'y': got 'ann', .* is no channel: give the option ignore = 'y'",
    ),
    (
      "id,x,label\na,,p\nb,1,q\n",
      {},
      "column 'x': got nothing .element",
    ),
    ("id,x,label\n,1,p\n", {}, "line 2: column 'id': got nothing"),
    ("id,x,label\na,1,p\na,1,q\n", {}, "line 3: column 'label': got 'q' where"),
    ("id,x,label\na,1,\n", {}, "line 2: column 'label': got nothing, expected"),
    ("id,time,x,label\na,1,1,p\n", {}, "the column 'time' among the channels"),
    (
      "id,t,x,label\na,1,1,p\nb,1,1,p\na,1,2,p\n",
      {"time": "t"},
      "line 4: column 't': got the time 1.0 twice in series 'a'",
    ),
    (
      "id,t,x,label\na,1,1,p\na,soon,2,p\n",
      {"time": "t"},
      "line 3: column 't': got 'soon', expected a finite number",
    ),
    (
      "id,t,x,label\na,31.12.24,1,p\n",
      {"time": "t"},
      "line 2: column 't': got '31.12.24', expected a date",
    ),
    (
      "id,x,label\na,1,p\nb,1,p\n",
      {},
      "table: targets: got class 0 for ev",
    ),
    (
      "id,x,y\na,1,p\n",
      {"label": "y", "target": "number"},
      "line 2: column 'y'",
    ),
    ("x,label\n1,p\n", {"id": None}, "id: got None, expected the column of"),
    ("id,x,label\na,1,p\n", {"split": "x"}, "no column of values"),
    (
      "id,x,s,label\na,1,trian,p\n",
      {"split": "s"},
      "line 2: column 's': got 'trian', expected train, valid or test",
    ),
    ("id,label\na,p\n", {}, "got no column of values beside id, label"),
    ("id,x,label\na,1,p\n", {"layout": "tall"}, "layout: got 'tall', expected"),
    (
      "id,x,label\na,1,p\n",
      {"test_fraction": 1.0},
      "expected less than 1 ",
    ),
    ("id,x,label\na,1,p\nb,1,q\n", {"test_fraction": 0.2}, "test: got no"),
  ],
)
def test_wrong_tables_are_refused_with_their_place(
  tmp_path, text, options, message
):
  with pytest.raises(ValueError, match=message):
    load(write(tmp_path, long=text), **options)


def test_classes_that_only_other_parts_have_are_refused(tmp_path):
  path = write(
    tmp_path,
    train="id,x,label\na,1,p\nb,1,q\n",
    test="id,x,label\na,1,p\nb,1,r\n",
  )
  message = "test.csv, line 3: column 'label': got the class 'r', which no"
  with pytest.raises(ValueError, match=message):
    load(path, test_path=path.with_name("test.csv"))


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (
      "id,x_0,y_1,label\na,1,2,p\n",
      "got the step 0 of only one of the",
    ),
    (
      "id,x_0,x.0,label\na,1,2,p\n",
      "got the columns 'x_0' and 'x.0', ex",
    ),
    ("id,x_0,label\na,1,p\na,2,q\n", "line 3: column 'id': got 'a' twice"),
    ("id,x_0,label\na,,p\n", "line 2: got a series without any value"),
  ],
)
def test_wrong_wide_tables_are_refused(tmp_path, text, message):
  with pytest.raises(ValueError, match=message):
    load(write(tmp_path, wide=text), layout="wide")


def test_absent_files_and_bytes_of_no_text_are_said(tmp_path):
  with pytest.raises(data.MissingData, match=r"there is no table .*no.csv: "):
    load(tmp_path / "no.csv")
  path = tmp_path / "latin.csv"
  path.write_bytes("id,x,label\nä,1,gr".encode() + b"\xfcn\n")
  with pytest.raises(ValueError, match="line 2: got bytes that are no UTF-8"):
    load(path)
  path = tmp_path / "damaged.parquet"
  path.write_bytes(b"PAR1" + bytes(20) + b"PAR1")
  pytest.importorskip("pyarrow")
  with pytest.raises(ValueError, match=r"damaged.parquet is no whole Parquet"):
    load(path)


def test_parquet_files_that_would_take_far_more_memory_are_refused(
  tmp_path, monkeypatch
):
  pyarrow = pytest.importorskip("pyarrow")
  parquet = pytest.importorskip("pyarrow.parquet")
  # A hundred thousand equal rows take a few hundred bytes.
  rows = 10**5
  table = {"id": ["a"] * rows, "x": np.zeros(rows), "label": ["p"] * rows}
  path = tmp_path / "flat.parquet"
  parquet.write_table(pyarrow.table(table), path)
  size = path.stat().st_size
  assert 8 * 3 * rows > 100 * size
  monkeypatch.setattr(limits, "FREE", 2**20)
  with pytest.raises(ValueError, match=f"flat.parquet: got {size} bytes"):
    load(path)


@pytest.mark.parametrize("column", ["{}", "{}.0", "{}."])
def test_whole_numbers_are_classes_however_they_are_written(tmp_path, column):
  rows = "".join(f"{i},{i},{column.format(1 + i % 2)}\n" for i in range(8))
  path = write(tmp_path, long="id,x,label\n" + rows)
  splits = load(path)
  assert splits.info.classes == ("1", "2")
  wanted = [i % 2 for i in range(8)]
  assert everything(splits).dataset.targets.tolist() == wanted
  # 1 and 1.0 are one class, in the file and in a later one.
  mixed = "".join(f"{i},{i},{1 + i % 2}{'.0' * (i > 4)}\n" for i in range(8))
  path.write_text("id,x,label\n" + mixed)
  assert load(path).info.classes == ("1", "2")
  assert everything(splits).dataset.targets.tolist() == wanted


def test_whole_numbers_that_are_all_different_are_no_classes(tmp_path):
  rows = "".join(f"{i},{i},{56 + i}\n" for i in range(8))
  path = write(tmp_path, long="id,x,label\n" + rows)
  message = (
    "line 2: column 'label': got a different whole number for each of the 8 .*"
    "option target = 'number'"
  )
  with pytest.raises(ValueError, match=message):
    load(path)
  assert load(path, target="number").info.num_classes is None


@pytest.mark.parametrize(
  ("labels", "expected"),
  [
    (["", ""], None),
    (["", "q"], [-1, 1]),
    (["q", "other"], [1, -1]),
    (["new", "other"], None),
  ],
)
def test_labels_of_a_later_file_may_be_unknown(
  tmp_path, caplog, labels, expected
):
  path = write(tmp_path, long="id,x,label\na,1,p\nb,2,q\nc,3,p\nd,4,q\n")
  source = load(path).info.preparation
  rows = [f"{name},1,{label}\n" for name, label in zip("yz", labels)]
  path.write_text("id,x,label\n" + "".join(rows))
  found = source.read(path)
  assert found.labeled == (expected is not None)
  assert found.dataset.targets.tolist() == (expected or [-1, -1])
  if any(labels):
    assert "expected a class of the training; the target of" in caplog.text
  else:
    assert not caplog.text


@pytest.mark.parametrize("target", ["number", "step"])
def test_numbers_of_a_later_file_may_be_unknown(tmp_path, target):
  text = "id,x,label\n" + "".join(f"{i},{i},{i}.5\n" for i in range(8))
  path = write(tmp_path, long=text)
  source = load(path, target=target).info.preparation
  path.write_text("id,x,label\ny,1,\nz,2,3.5\n")
  found = source.read(path)
  assert found.labeled
  assert np.isnan(found.dataset.targets.ravel()).tolist() == [True, False]
  path.write_text("id,x,label\ny,1,\nz,2,\n")
  found = source.read(path)
  assert not found.labeled
  assert np.isnan(found.dataset.targets).all()
