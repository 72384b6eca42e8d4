"""Events of graphs: tables, the folders of TGB-Seq, and what is made."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import event_graphs

ROWS = ["b,x,3,.5", "a,y,1,.1", "a,x,1,.2", "b,b,2,.3", "a,y,4,.6", "b,y,5,.7"]


def write(path, rows, names="source,destination,time,size"):
  path.write_text("\n".join([names, *rows, ""]))
  return path


def test_a_table_becomes_events_in_the_order_of_time(tmp_path, caplog):
  path = write(tmp_path / "e.csv", ROWS)
  options = {"valid_fraction": 1 / 6, "test_fraction": 1 / 6, "candidates": 3}
  splits = data.load("graph_table", path=path, features=("size",), **options)
  assert "1 of 6 rows have an earlier time" in caplog.text
  sets = splits.train, splits.valid, splits.test
  # a, b, x, y; rows at one time stay in their order.
  nodes = np.concatenate([one.inputs for one in sets]).tolist()
  assert nodes == [[1, 4], [1, 3], [2, 2], [2, 3], [1, 4], [2, 4]]
  times = np.concatenate([one.extras.times[:, 0] for one in sets])
  assert times.tolist() == [0, 0, 1, 2, 3, 4]
  sizes = np.concatenate([one.extras.features[:, 0] for one in sets])
  np.testing.assert_allclose(sizes, [0.1, 0.2, 0.3, 0.5, 0.6, 0.7], rtol=1e-6)
  assert [len(one.inputs) for one in sets] == [4, 1, 1]
  assert not np.any(splits.test.targets == splits.test.inputs[:, 1:])
  apart = data.load("graph_table", path=path, bipartite=True, **options)
  # Destinations b, x, y, then the sources a, b.
  assert apart.train.inputs.tolist() == [[4, 3], [4, 2], [5, 1], [5, 2]]
  assert apart.train.extras.features is None
  later = data.load("graph_table", seed=1, path=path, **options)
  again = data.load("graph_table", seed=1, path=path, **options)
  np.testing.assert_array_equal(later.test.targets, again.test.targets)


def test_candidates_are_destinations_where_some_sources_are_none():
  # Destinations 1, 4, 5; 2 and 3 stand between them, and only begin events.
  nodes = np.array([[2, 1], [3, 4], [3, 5], [2, 1], [3, 4], [2, 5]])
  part = np.array([0, 0, 0, 1, 2, 2])
  splits = event_graphs.make_splits(
    nodes, np.arange(6.0), part, "here", 5, candidates=40
  )
  drawn = [set(row) for row in splits.test.targets.tolist()]
  assert drawn == [{1, 5}, {1, 4}]
  # Without gaps they are what whole numbers between the ends would be.
  end = np.array([[3], [5], [7]])
  rng, again = np.random.default_rng(0), np.random.default_rng(0)
  others = again.integers(3, 7, (3, 50))
  np.testing.assert_array_equal(
    event_graphs.draw(rng, end, np.arange(3, 8), 50), others + (others >= end)
  )


def test_what_is_wrong_is_told_with_its_place(tmp_path):
  path = write(tmp_path / "e.csv", [*ROWS, "b,,5,.7"])
  with pytest.raises(ValueError, match="line 8: column 'destination': got not"):
    data.load("graph_table", path=path)
  path = write(tmp_path / "e.csv", [*ROWS, "b,x,5,"])
  with pytest.raises(ValueError, match="line 8: column 'size': got nothing"):
    data.load("graph_table", path=path, features=("size",))
  path = write(tmp_path / "e.csv", ["a,b,1,0", "c,b,2,0", "d,b,3,0", "d,b,9,0"])
  with pytest.raises(ValueError, match="destinations: got 1, expected two"):
    data.load("graph_table", path=path, valid_fraction=0.0, test_fraction=0.25)


def test_a_folder_of_tgb_seq_is_read_where_it_is(tmp_path):
  folder = tmp_path / "Tiny"
  folder.mkdir()
  rows = ["0,5,10,0", "1,6,11,0", "0,6,12,1", "1,5,13,2", "1,7,14,2"]
  write(folder / "Tiny.csv", rows, "src,dst,time,split")
  others = np.array([[6, 7], [5, 6]])
  np.save(folder / "Tiny_test_ns.npy", others)
  np.save(folder / "Tiny_edge_feat.npy", np.eye(5))
  splits = data.load("tgb_seq", path=folder, candidates=4)
  assert splits.info.vocab_size == 9
  assert splits.train.inputs.tolist() == [[1, 6], [2, 7]]
  assert splits.test.inputs.tolist() == [[2, 6], [2, 8]]
  np.testing.assert_array_equal(splits.test.targets, others + 1)
  assert splits.valid.targets.shape == (1, 4)
  np.testing.assert_array_equal(splits.test.extras.features, np.eye(5)[3:])
  # In another order than that of time each event keeps what is its own.
  write(folder / "Tiny.csv", rows[::-1], "src,dst,time,split")
  again = data.load("tgb_seq", path=folder, candidates=4).test
  assert again.inputs.tolist() == [[2, 6], [2, 8]]
  np.testing.assert_array_equal(again.targets, others[::-1] + 1)
  np.testing.assert_array_equal(again.extras.features, np.eye(5)[[1, 0]])
  np.save(folder / "Tiny_test_ns.npy", others[:1])
  with pytest.raises(ValueError, match="got shape .1, 2., expected .2, colum"):
    data.load("tgb_seq", path=folder)
  write(folder / "Tiny.csv", [*rows, "1,5,15,0"], "src,dst,time,split")
  with pytest.raises(ValueError, match="split: .*expected 0, then 1, then 2"):
    data.load("tgb_seq", path=folder)


@pytest.mark.parametrize(
  ("row", "sentence"),
  [
    (",6,11,0", "line 3: column 'src': got nan, expected whole numbers from 0"),
    ("nan,6,11,0", "column 'src': got nan, expected whole numbers"),
    ("1.5,6,11,0", "column 'src': got 1.5, expected whole numbers"),
    ("1,-6,11,0", "column 'dst': got -6.0, expected whole numbers"),
    ("1,2147483647,11,0", "column 'dst': got 2147483647.0, expected whole"),
    ("1,6,,0", "column 'time': got nan, expected a number"),
    ("1,6,11,nan", "column 'split': got nan, expected 0, 1 or 2"),
  ],
)
def test_nodes_of_tgb_seq_are_whole_numbers(tmp_path, row, sentence):
  rows = ["0,5,10,0", row, "0,6,12,1", "1,5,13,2", "1,7,14,2"]
  (folder := tmp_path / "Tiny").mkdir()
  write(folder / "Tiny.csv", rows, "src,dst,time,split")
  with pytest.raises(ValueError, match=sentence):
    data.load("tgb_seq", path=folder)


def test_arrays_of_tgb_seq_are_read_within_bounds(tmp_path):
  rows = ["0,5,10,0", "1,6,11,0", "0,6,12,1", "1,5,13,2", "1,7,14,2"]
  (folder := tmp_path / "Tiny").mkdir()
  write(folder / "Tiny.csv", rows, "src,dst,time,split")
  file = folder / "Tiny_test_ns.npy"
  np.save(file, np.array([[6.5, 7], [5, 6]]))
  with pytest.raises(ValueError, match=r"Tiny_test_ns.npy: got 6.5 at event 0"):
    data.load("tgb_seq", path=folder)
  np.save(file, np.array([[6, 2**40], [5, 6]]))
  with pytest.raises(ValueError, match="got 1099511627776 at event 0, column"):
    data.load("tgb_seq", path=folder)
  np.save(file, np.array([["a", "b"]] * 2))
  with pytest.raises(ValueError, match="got dtype <U1, expected numbers"):
    data.load("tgb_seq", path=folder)
  header = file.read_bytes().replace(b"(2, 2)", b"((((" + b" " * 2)
  for content in (b"", b"PK\x03\x04" + bytes(50), header):
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is no array that can be read: it"):
      data.load("tgb_seq", path=folder)


def test_as_many_candidates_as_there_is_memory_for(tmp_path):
  path = tmp_path / "a.csv"
  rows = [f"{i % 3},{i % 4},{i}" for i in range(20)]
  write(path, rows, "source,destination,time")
  with pytest.raises(ValueError, match="candidates: got 1000000000, expected"):
    data.load("graph_table", path=path, candidates=10**9)


@pytest.mark.slow
def test_movielens_is_a_graph_without_repeated_events():
  try:
    splits = data.load("ml_100k_graph")
  except data.MissingData as error:
    pytest.skip(str(error))
  sets = splits.train, splits.valid, splits.test
  nodes = np.concatenate([one.inputs for one in sets])
  assert len(np.unique(nodes, axis=0)) == len(nodes) == 100_000
  assert splits.info.vocab_size == 943 + 1682 + 1
  assert splits.test.targets.shape == (15_000, 100)
