"""Labels of series: names of classes, numbers, or numbers at every element."""

from collections.abc import Callable
from collections.abc import Sequence
import os
import re
from typing import Any
from typing import Literal
from typing import NamedTuple

from absl import logging
import numpy as np

from jaxseq import validate
from jaxseq.data import _raw_arrays
from jaxseq.data import recordings
from jaxseq.data import table_layouts
from jaxseq.data.files import columns as text_columns
from jaxseq.data.files import table_files

# A whole number, also as 1.0: tables with missing values write it so.
_WHOLE = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")


class Targets(NamedTuple):
  """Labels of the series of a table.

  Attributes:
    kind: kind of the labels; "none" without labels.
    values: (n,) int32 classes, (n, numbers) float64, or for "step" a list of
      arrays (time_i, numbers); zeros (n,) without labels. Unknown labels of a
      later file are -1 or NaN.
    classes: names of the classes, if the labels are classes.
    names: names of the label columns.
  """

  kind: Literal["class", "number", "step", "none"]
  values: Any
  classes: tuple[str, ...] | None = None
  names: tuple[str, ...] = ()

  def training(self, rows: np.ndarray) -> np.ndarray:
    """Returns the numbers of `rows`, (all of their numbers, columns)."""
    if self.kind == "step":
      return np.concatenate([self.values[row] for row in rows])
    return self.values[rows]


def none(count: int) -> Targets:
  """Returns the targets of series without labels."""
  return Targets("none", np.zeros(count, np.int32))


def find(
  whole: recordings.Recordings,
  columns: table_layouts.Columns,
  target: str,
  labels: str | os.PathLike | None,
) -> Targets:
  """Returns the targets of training series."""
  if not columns.label:
    if labels is not None or target in ("step", "number"):
      raise validate.error("label", None, "the column that holds the labels")
    return none(len(whole.ids))
  if labels is not None and target == "step":
    raise validate.error("labels", str(labels), "None for numbers of steps")
  if target == "step":
    return Targets("step", _stepwise(whole, columns), names=columns.label)
  words, place = whole.entries, whole.place
  if labels is not None:
    words, place = _of_file(whole, columns, labels)
  for name in columns.label:
    if "" in words[name]:
      position = place(words[name].index(""), name)
      raise ValueError(f"{position}: got nothing, expected a label.")
  if target == "auto":
    target = _kind([words[name] for name in columns.label])
  if target == "number":
    return _numbers(words, columns.label, place)
  if len(columns.label) > 1:
    raise validate.error("label", columns.label, "one column for classes")
  (name,) = columns.label
  return of_classes(
    words[name], lambda number: place(number, name), whole.own, name
  )


def of_classes(
  words: Sequence[str],
  place: Callable[[int], str],
  groups: np.ndarray,
  name: str,
) -> Targets:
  """Returns the class targets of training series, with sorted classes.

  Args:
    words: the label of each series; 1.0 is the class 1.
    place: location of each in its file, for messages.
    groups: (n,) number of the whole series that contains each.
    name: name of the labels.

  Raises:
    ValueError: if the labels of whole series are distinct whole numbers.
  """
  matches = list(map(_WHOLE.fullmatch, words))
  if all(matches):
    words = [match[1] for match in matches if match]
  classes, count = in_order(words), len(np.unique(groups))
  if all(matches) and len(classes) == count > 1:
    raise ValueError(
      f"{place(0)}: got a different whole number for each of the {count} series"
      ", expected classes that several series have. For numbers to predict give"
      " the option target = 'number' (--config.data_options.target=number)."
    )
  numbers = _raw_arrays.class_numbers(words, classes)
  return Targets("class", numbers, classes, (name,))


def find_again(
  whole: recordings.Recordings,
  columns: table_layouts.Columns,
  kind: str,
  classes: Sequence[str] | None,
) -> Targets:
  """Returns the known targets of later series."""
  count, names = len(whole.ids), columns.label
  entries = whole.numbers if kind == "step" else whole.entries
  if not names or not set(names) <= entries.keys():
    return none(count)
  if kind == "step":
    rows = _stepwise(whole, columns, optional=True)
    known = any(not np.isnan(row).all() for row in rows)
    return Targets("step", rows, names=names) if known else none(count)
  if not any(map(any, (entries[name] for name in names))):
    return none(count)
  if kind == "number":
    return _numbers(entries, names, whole.place, optional=True)
  (name,) = names
  return of_known_classes(
    entries[name], lambda number: whole.place(number, name), classes or (), name
  )


def of_known_classes(
  words: Sequence[str],
  place: Callable[[int], str],
  classes: Sequence[str],
  name: str,
) -> Targets:
  """Returns the classes of later series; -1 if not a class of the training.

  Args:
    words: the label of each series, which may be empty.
    place: location of each in its file, for messages.
    classes: classes of the training.
    name: name of the labels.
  """
  places = {_plain(word): number for number, word in enumerate(classes)}
  places |= {word: number for number, word in enumerate(classes)}
  numbers = np.array(
    [places.get(word, places.get(_plain(word), -1)) for word in words], np.int32
  )
  unknown = np.flatnonzero(numbers < 0)
  if len(unknown) and classes:
    first = int(unknown[0])
    logging.warning(
      "%s: got %r, expected a class of the training; the target of %d of %d"
      " series is unknown and stays empty.",
      *(place(first), words[first][:40], len(unknown), len(words)),
    )
  if len(unknown) == len(words):
    return none(len(words))
  return Targets("class", numbers, tuple(classes), (name,))


def _plain(word):
  """Removes a fraction of zeros from a whole number; keeps other words."""
  match = _WHOLE.fullmatch(word)
  return match[1] if match else word


def _numbers(words, names, place, optional=False):
  """Targets of one or several numbers per series."""
  numbers = [
    [
      _number(word, name, place, i, optional)
      for i, word in enumerate(words[name])
    ]
    for name in names
  ]
  return Targets("number", np.array(numbers).T, names=names)


def in_order(words: Sequence[str]) -> tuple[str, ...]:
  """Returns the unique names, sorted as whole numbers or by alphabet."""
  names = sorted(set(words))
  if all(map(_WHOLE.fullmatch, names)):
    names.sort(key=lambda name: int(_plain(name)))
  return tuple(names)


def check_classes(
  found: Targets,
  train: np.ndarray,
  whole: recordings.Recordings,
) -> None:
  """Raises if a class has no training series."""
  if found.classes is None:
    return
  # Classes without any example are in a header only, and are allowed.
  present = np.unique(found.values)
  lacking = np.setdiff1d(present, found.values[train])
  if len(lacking):
    number = int(np.flatnonzero(found.values == lacking[0])[0])
    raise ValueError(
      f"{whole.place(number, found.names[0])}: got the class "
      f"{found.classes[lacking[0]]!r}, which no series of the training part "
      "has, expected at least one; for numbers to predict the option is "
      "target = 'number'."
    )


def _stepwise(whole, columns, optional=False):
  """Numbers at every element; NaN for unknown ones if they are optional."""
  rows = []
  for number, one in enumerate(whole.ids):
    values = np.stack(
      [whole.numbers[name][number] for name in columns.label], axis=1
    )
    if np.isnan(values).any() and not optional:
      step, column = np.argwhere(np.isnan(values))[0]
      raise ValueError(
        f"{whole.place(number, columns.label[column], step)}: got nothing "
        f"(element {step} of series {one!r}), expected a number to predict."
      )
    rows.append(values)
  return rows


def _kind(entries):
  """The kind of labels: "number" if some are not whole, else "class"."""
  if len(entries) > 1:
    return "number"
  words = entries[0]
  if not text_columns.TRUTH.keys().isdisjoint(words):
    return "class"
  try:
    for word in words:
      text_columns.number(word, "")
  except ValueError:
    return "class"
  return "class" if all(map(_WHOLE.fullmatch, words)) else "number"


def _number(word, name, place, number, optional):
  """Parses a number to predict."""
  if optional and word in text_columns.MISSING:
    return float("nan")
  try:
    value = text_columns.number(word, name)
  except ValueError:
    value = float("nan")
  if value != value:
    raise ValueError(
      f"{place(number, name)}: got {word[:40]!r}, expected a number to predict."
    )
  return value


def _of_file(whole, columns, labels):
  """Label entries of a separate table, in the order of the series."""
  if columns.id is None:
    raise validate.error("id", None, "the column of both tables' ids")
  table = table_files.read(
    table_files.find(labels),
    words=(columns.id, *columns.label),
    numbers=(),
    form=columns.form,
  )
  rows = {}
  for row, word in enumerate(table.words[columns.id]):
    if rows.setdefault(word, row) != row:
      raise ValueError(
        f"{table.place(row, columns.id)}: got {word[:40]!r} twice, expected "
        "one label for each series."
      )
  for number, one in enumerate(whole.names):
    if one not in rows:
      raise ValueError(
        f"{whole.place(int(np.argmax(whole.own == number)))}: got the series "
        f"{one!r}, which is not in {labels}, expected a label for each series."
      )
  chosen = [rows[whole.names[entry]] for entry in whole.own]
  words = {
    name: [table.words[name][row] for row in chosen] for name in columns.label
  }
  return words, lambda number, name: table.place(chosen[number], name)
