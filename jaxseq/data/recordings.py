"""Recordings: series of different lengths, and the entries of each."""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq.data import missing as missing_values


class Recordings(NamedTuple):
  """Series of different lengths: rows of a table, or recordings of sensors.

  Attributes:
    ids: name of each series; for chunks of a series its name and their first
      element, as in "a:200".
    values: arrays (time_i, channels), NaN where a value is missing.
    channels: names of the channels, or None.
    stamps: arrays (time_i,) float64 or datetime64, increasing; None if there is
      no such column.
    entries: entry of each series, by column: words of a table; integers
      (n,) int32 of sensors, the class "label" and other extras.
    numbers: arrays (time_i,) float64 of further numbers, by column.
    part: (n,) number of the path that each series was read from.
    rows: (n,) number of the table's row at which each series begins.
    elements: arrays (time_i,), the row of each element; None if each series is
      one row.
    table: table that they were read from, which has `place(row, column)`.
    own: (n,) number of the whole series that each is a chunk of.
    names: names of the whole series.
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
    """Returns whole series, each of them one row of its source.

    Args:
      values: see `Recordings`, as for the others.
      entries: entries of the series.
      **fields: further fields of `Recordings`, in place of defaults.
    """
    rows = np.arange(len(values))
    fields = {"ids": tuple(map(str, rows)), "part": 0 * rows} | fields
    none = dict.fromkeys(("channels", "stamps", "elements", "table"))
    labels = {"numbers": {}, "rows": rows, "own": rows, "names": fields["ids"]}
    return cls(values=values, entries=entries, **{**none, **labels, **fields})

  def place(
    self, number: int, column: str | None = None, element: int | None = None
  ) -> str:
    """Returns the location of a series' start or element, for messages."""
    row = self.rows[number]
    if self.elements is not None and element is not None:
      row = self.elements[number][element]
    return self.table.place(int(row), column)

  def refuse_missing(self, trained: bool = False) -> None:
    """Rejects missing values.

    Args:
      trained: whether they are to be predicted by a trained model.

    Raises:
      ValueError: naming the place of the first missing value.
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
