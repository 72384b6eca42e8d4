"""MovieLens: histories of the films that each user rated.

    splits = data.load("ml_100k")
    splits = data.load("ml_1m", path="ml-1m")

The ratings of GroupLens (Harper & Konstan, 2015) are for research, and must not
be redistributed. Those of ml-100k are inside the package recbole; only its
files are read. Half of a user's ratings there have the same time as the one
before, and stay in the order of the file.
"""

import os
import pathlib
from typing import Any
from typing import Unpack

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _row_groups
from jaxseq.data import datasets
from jaxseq.data import packages
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms
from jaxseq.data.sources import interactions

_FOLDER = "dataset_example/ml-100k"
_USER, _ITEM, _TIME = "user_id:token", "item_id:token", "timestamp:float"
_TITLE = "movie_title:token_seq"
_WORDS = "class:token_seq", "release_year:token"


def ml_100k(
  *, texts: bool = False, **options: Unpack[interactions.Options]
) -> datasets.Splits:
  """Loads 100,000 ratings of 1,682 films by 943 users, from package recbole.

  Args:
    texts: whether to add the films' titles, years and genres.
    **options: see `interactions.of_rows`.

  Returns:
    Histories and their next items, split as in `interactions.of_rows`.

  Raises:
    MissingData: if recbole is not installed.
  """
  known: Any = {}
  if texts:
    known = {"texts": _file("item"), "text": (_TITLE, *_WORDS)}
  return interactions.load(
    _file("inter"),
    user=_USER,
    item=_ITEM,
    time=_TIME,
    delimiter="\t",
    **known,
    **options,
  )


def ratings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the columns user, item and time of ml-100k, (100000,) each.

  Raises:
    MissingData: if recbole is not installed.
  """
  names = _USER, _ITEM, _TIME
  words = table_files.read(
    (_file("inter"),), names, (), form=text_forms.Form("\t")
  ).words
  users, items, times = (np.array(words[name]) for name in names)
  return users, items, times.astype(float)


def films() -> dict[str, str]:
  """Returns the titles of ml-100k's films, by item name.

  Raises:
    MissingData: if recbole is not installed.
  """
  form = text_forms.Form("\t")
  return table_files.texts(_file("item"), _ITEM, (_TITLE,), form)


def _file(kind):
  """Returns the path of a file of ml-100k."""
  return packages.find("ml-100k", f"{_FOLDER}/ml-100k.{kind}", "recbole")


def ml_1m(
  path: str | os.PathLike, **options: Unpack[interactions.Options]
) -> datasets.Splits:
  """Loads 1,000,209 ratings of 3,706 films by 6,040 users.

  Args:
    path: the file ratings.dat of GroupLens' ml-1m, or its folder.
    **options: see `interactions.of_rows`.

  Returns:
    Histories and their next items, split as in `interactions.of_rows`.

  Raises:
    MissingData: if there is no such file.
    ValueError: naming the invalid line.
  """
  place = pathlib.Path(path)
  place = place / "ratings.dat" if place.is_dir() else place
  advice = "ml-1m.zip of grouplens.org/datasets/movielens holds it"
  users, items, times = [], [], []
  content = limits.read_bytes(datasets.find_file(place, advice))
  lines = content.decode("latin-1").splitlines()
  for number, line in enumerate(lines, 1):
    user, *rest = line.split("::")
    if len(rest) != 3 or not rest[2].isdecimal():
      expected = "user::film::rating::seconds"
      raise validate.error(f"{place}, line {number}", line[:40], expected)
    users.append(user)
    items.append(rest[0])
    times.append(float(rest[2]))
  stamps = np.array(times)
  _, rows = _row_groups.group(users, stamps)
  source = interactions.InteractionSource()
  name = str(place)
  return interactions.of_rows(rows, items, stamps, source, name, **options)
