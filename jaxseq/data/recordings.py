"""Recordings: series of different lengths, and what is known of each."""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq.data import missing as missing_values


class Recordings(NamedTuple):
  """Series of different lengths: rows of a table, or what a sensor recorded.

  Attributes:
    ids: what each series is called; pieces of one by its name and their first
      element, as in "a:200".
    values: arrays (time_i, channels), NaN where a value is missing.
    channels: their names; None if they have none.
    stamps: arrays (time_i,) float64 or datetime64, increasing; None if there is
      no such column.
    entries: by column, the entry of each series: words of a table; integers
      (n,) int32 of sensors, the class "label" and fields of `datasets.Extras`.
    numbers: by column, arrays (time_i,) float64 of further numbers.
    part: (n,) number of the path that each series was read from.
    rows: (n,) number of the table's row at which each series begins.
    elements: arrays (time_i,), the row of each element; None if the series are
      rows.
    table: what they were read from, which has `place(row, column)`.
    own: (n,) number of the whole series that each is a piece of.
    names: what the whole series are called.
  """

  ids: tuple[str, ...]
  values: list[np.ndarray]
  channels: tuple[str, ...] | None
  stamps: list[np.ndarray] | None
  entries: Mapping[str, Any]
  numbers: dict[str, list[np.ndarray]]
  part: np.ndarray
  rows: np.ndarray
  elements: list[np.ndarray] | None
  table: Any
  own: np.ndarray
  names: tuple[str, ...]

  @classmethod
  def of(
    cls, values: list[np.ndarray], entries: Mapping[str, Any], **fields: Any
  ) -> "Recordings":
    """Returns series that are whole, each of them a row of what holds them.

    Args:
      values: see `Recordings`, as the others.
      entries: of the series.
      **fields: others, in place of none.
    """
    rows = np.arange(len(values))
    fields = {"ids": tuple(map(str, rows)), "part": 0 * rows} | fields
    none = dict.fromkeys(("channels", "stamps", "elements", "table"))
    own = {"numbers": {}, "rows": rows, "own": rows, "names": fields["ids"]}
    return cls(values=values, entries=entries, **{**none, **own, **fields})

  def place(
    self, number: int, column: str | None = None, element: int | None = None
  ) -> str:
    """Returns where a series begins, or an element is, for messages."""
    row = self.rows[number]
    if self.elements is not None and element is not None:
      row = self.elements[number][element]
    return self.table.place(int(row), column)

  def refuse_missing(self, trained: bool = False) -> None:
    """Refuses missing values, by the place of the first.

    Args:
      trained: whether they are to be predicted by a model that is there.

    Raises:
      ValueError: naming it.
    """
    for number, values in enumerate(self.values):
      wrong = np.isnan(values)
      if wrong.any():
        step, channel = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        place = self.place(number, (self.channels or ())[channel], int(step))
        raise ValueError(
          f"{place}: got nothing (element {step} of series "
          f"{self.ids[number]!r}), expected "
          f"{missing_values.expected(trained=trained)}."
        )
