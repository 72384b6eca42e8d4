"""Labels of series: names of classes, numbers, or numbers at every element."""

from collections.abc import Sequence
import os
import re
from typing import Any
from typing import Literal
from typing import NamedTuple

import numpy as np

from jaxseq import _validate
from jaxseq.data import _raw_arrays
from jaxseq.data import recordings
from jaxseq.data import table_layouts
from jaxseq.data.files import _columns
from jaxseq.data.files import table_files

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


class Targets(NamedTuple):
  """Labels of the series of a table.

  Attributes:
    kind: what they are; "none" if there are none.
    values: (n,) int32 classes, (n, numbers) float64, or of "step" a list of
      arrays (time_i, numbers); zeros (n,) if there are none.
    classes: names of the classes, if they are classes.
    names: of what the labels are called.
  """

  kind: Literal["class", "number", "step", "none"]
  values: Any
  classes: tuple[str, ...] | None = None
  names: tuple[str, ...] = ()

  def training(self, rows: np.ndarray) -> np.ndarray:
    """Returns the numbers of some series, (numbers of all, columns)."""
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
  *,
  classes: Sequence[str] | None = None,
) -> Targets:
  """Returns the targets of series."""
  if not columns.label:
    if labels is not None or target in ("step", "number"):
      raise _validate.error("label", None, "the column that holds the labels")
    return none(len(whole.ids))
  if labels is not None and target == "step":
    raise _validate.error("labels", str(labels), "None for numbers of steps")
  if target == "step":
    return Targets("step", _stepwise(whole, columns), names=columns.label)

  def place(number, name):
    return whole.place(number, name)

  words = whole.entries
  if labels is not None:
    words, place = _of_file(whole, columns, labels)
  for name in columns.label:
    if "" in words[name]:
      where = place(words[name].index(""), name)
      raise ValueError(f"{where}: got nothing, expected a label.")
  if target == "auto":
    target = _kind([words[name] for name in columns.label])
  if target == "number":
    numbers = [
      [_number(word, name, place, i) for i, word in enumerate(words[name])]
      for name in columns.label
    ]
    return Targets("number", np.array(numbers).T, names=columns.label)
  if len(columns.label) > 1:
    raise _validate.error("label", columns.label, "one column for classes")
  (name,) = columns.label
  for number, word in enumerate(words[name] if classes is not None else ()):
    if word not in classes:
      _validate.choice(place(number, name), word, classes)
  if classes is None:
    classes = in_order(words[name])
  numbers = _raw_arrays.class_numbers(words[name], classes)
  return Targets("class", numbers, tuple(classes), columns.label)


def in_order(words: Sequence[str]) -> tuple[str, ...]:
  """Returns names once each, in order: of whole numbers, or of the alphabet."""
  names = sorted(set(words))
  if all(map(_WHOLE.fullmatch, names)):
    names.sort(key=int)
  return tuple(names)


def check_classes(
  found: Targets,
  train: np.ndarray,
  whole: recordings.Recordings,
) -> None:
  """Refuses classes that no training series is of."""
  if found.classes is None:
    return
  # Classes without any example are those that a header lists in vain.
  there = np.unique(found.values)
  lacking = np.setdiff1d(there, found.values[train])
  if len(lacking):
    number = int(np.flatnonzero(found.values == lacking[0])[0])
    raise ValueError(
      f"{whole.place(number, found.names[0])}: got the class "
      f"{found.classes[lacking[0]]!r}, of which no series is in the training "
      "part, expected at least one; for numbers to predict the option is "
      "target = 'number'."
    )


def _stepwise(whole, columns):
  """Numbers at every element."""
  rows = []
  for number, one in enumerate(whole.ids):
    values = np.stack(
      [whole.numbers[name][number] for name in columns.label], axis=1
    )
    if np.isnan(values).any():
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
  try:
    for word in words:
      _columns.number(word, "")
  except ValueError:
    return "class"
  return "class" if all(map(_WHOLE.fullmatch, words)) else "number"


def _number(word, name, place, number):
  """A number to predict."""
  try:
    value = _columns.number(word, name)
  except ValueError:
    value = float("nan")
  if value != value:
    raise ValueError(
      f"{place(number, name)}: got {word[:40]!r}, expected a number to predict."
    )
  return value


def _of_file(whole, columns, labels):
  """Entries of a further table, in the order of the series."""
  if columns.id is None:
    raise _validate.error("id", None, "the column of both tables' ids")
  table = table_files.read(
    table_files.find(labels),
    words=(columns.id, *columns.label),
    numbers=(),
    delimiter=columns.delimiter,
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
