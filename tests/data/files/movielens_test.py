"""MovieLens, from files as they are published."""

import importlib.util

import pytest

from jaxseq import data
from jaxseq.data.files import movielens


def test_the_package_is_named_where_it_lacks(tmp_path, monkeypatch):
  folder = tmp_path / "recbole" / "dataset_example" / "ml-100k"
  folder.mkdir(parents=True)
  (tmp_path / "recbole" / "__init__.py").touch()
  monkeypatch.syspath_prepend(tmp_path)
  importlib.invalidate_caches()
  with pytest.raises(data.MissingData, match="pip install --no-deps recbole"):
    data.load("ml_100k")
  names = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
  rows = [f"{user}\t{10 - t}\t3\t{t // 2}" for user in (7, 3) for t in range(5)]
  (folder / "ml-100k.inter").write_text("\n".join([names, *rows, ""]))
  splits = data.load("ml_100k", gap=1.0)
  names = "item_id:token\tmovie_title:token_seq"
  (folder / "ml-100k.item").write_text(f"{names}\n6\tHeat\n7\tRan\n")
  assert movielens.films() == {"6": "Heat", "7": "Ran"}
  user, film, time = movielens.ratings()
  assert (user[0], film[0], time[4]) == ("7", "10", 2.0)
  # In order of time, and of the file where times are equal.
  assert splits.info.preparation.items == ("6", "7", "8", "9", "10")
  assert splits.test.inputs.tolist() == [[5, 4, 3, 2]] * 2
  assert splits.test.targets[:, -1].tolist() == [1, 1]


def test_files_of_a_million_ratings_are_read(tmp_path):
  rows = [f"{user}::{t}::5::{100 - t}" for user in (1, 2) for t in range(4)]
  path = tmp_path / "ratings.dat"
  path.write_text("\n".join([*rows, ""]))
  splits = data.load("ml_1m", path=tmp_path, length=2)
  assert splits.info.preparation.items == ("0", "1", "2", "3")
  assert splits.test.inputs.tolist() == [[4, 3, 2]] * 2
  path.write_text("1::2::3::later\n")
  with pytest.raises(ValueError, match="ratings.dat, line 1: got '1::2::3::la"):
    data.load("ml_1m", path=path)
  with pytest.raises(data.MissingData, match="ml-1m.zip"):
    data.load("ml_1m", path=tmp_path / "none")
