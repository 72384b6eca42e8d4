"""Panels of series to forecast: one model, and a scale for each series."""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any
from typing import ClassVar

from absl import logging
import numpy as np

from jaxseq import validate
from jaxseq.data import _raw_arrays
from jaxseq.data import datasets
from jaxseq.data import known_columns
from jaxseq.data import missing as missing_values
from jaxseq.data import panels
from jaxseq.data import scale
from jaxseq.data import series_frames
from jaxseq.data.files import table_files
from jaxseq.data.sources import base
from jaxseq.data.sources import windows


@dataclasses.dataclass(frozen=True)
class PanelSource(windows.WindowSource):
  """Series of a panel; forecasts begin at the end of each.

  `prepare` takes series (time_i, channels), each at least as long as an input:
  a dict by name, or a sequence of series that were not trained on; or a frame
  with a row for each series and time. A series that was not trained on is
  scaled by its own values.

  Attributes:
    series: column of the series' names; None for a single series.
    names: names of the training series.
    mean: subtracted mean of each series and channel, series by series.
    deviation: deviation of each series and channel, which then divides.
    known: columns that are known ahead.
    static: columns with one entry for each series.
    words: columns of both kinds that hold words.
    features: features of the columns, see `data.known_columns`.
    feature_mean: mean of each feature.
    feature_deviation: deviation of each feature.
  """

  kind: ClassVar[str] = "panel"

  _: dataclasses.KW_ONLY
  series: str | None = None  # pyrefly: ignore
  names: tuple[str, ...] = ()
  known: tuple[str, ...] = ()
  static: tuple[str, ...] = ()
  words: tuple[str, ...] = ()
  features: tuple[str, ...] = ()
  feature_mean: tuple[float, ...] = ()
  feature_deviation: tuple[float, ...] = ()

  def __post_init__(self):
    super().__post_init__()
    if self.feature_deviation:
      pair = self.feature_mean, self.feature_deviation
      scale.check("feature_deviation", *pair)
    if len(self.feature_mean) != len(self.features):
      expected = f"{len(self.features)} numbers, one for each feature"
      raise validate.error("feature_mean", self.feature_mean, expected)
    count = len(self.names) * len(self.channels or ())
    if self.mean is not None and len(self.mean) != count:
      expected = f"{count} numbers, one for each series and channel"
      raise validate.error("mean", len(self.mean), expected)

  def number_of(self, name: str) -> int:
    """Returns the number of a training series, from 1 on; 0 for others."""
    return self._numbers.get(name, 0)

  @functools.cached_property
  def _numbers(self):
    return {name: number for number, name in enumerate(self.names, 1)}

  @property
  def features_along(self) -> known_columns.Features:
    """The features of the known and static columns."""
    return known_columns.Features(
      (*self.known, *self.static),
      self.features,
      self.words,
      self.feature_mean,
      self.feature_deviation,
    )

  @property
  def columns(self) -> panels.Columns:
    """The columns to read from tables."""
    return panels.Columns(
      series=self.series,
      time=self.time,
      channels=self.channels or (),
      known=self.known,
      static=self.static,
      form=self.form,
      steps=self.steps,
    )

  def _prepare(self, values, lengths, times, targets):
    del times
    if targets is not None:
      raise validate.error("targets", type(targets).__name__, "None")
    if series_frames.is_frame(values):
      return self._read(values).dataset
    if self.features:
      expected = "a frame or file, as these columns go along: "
      listed = ", ".join(self.features_along.columns)
      raise validate.error("values", type(values).__name__, expected + listed)
    names = None
    if isinstance(values, Mapping):
      names, values = list(map(str, values)), list(values.values())
    elif isinstance(values, np.ndarray) and values.ndim == 2:
      values = [values]
    items = _raw_arrays.rows(values, lengths)
    titles = [f"series {x!r}" for x in names or range(len(items))]
    members = [
      panels.Member(
        "" if names is None else names[number],
        _raw_arrays.series(titles[number], item, self.channels),
      )
      for number, item in enumerate(items)
    ]
    return self._inputs("values", members, titles)

  def _read(self, path: Any) -> base.Examples:
    name = table_files.describe(path)
    panel = panels.read(
      path, self.columns, self.dates, self.calendar or "steps"
    )
    return self.ends(name, panel)

  def ends(self, name: str, panel: panels.Panel) -> base.Examples:
    """Returns the ends of the series of a panel as examples, see `read`."""
    members = panel.members
    titles = [f"series {m.name!r}" for m in members]
    dataset = self._inputs(name, members, titles, panel.table)
    ends = [len(member.values) for member in members]
    ids = tuple(member.name for member in members)
    if self.time is None:
      ids = ids if self.series else (str(ends[0] - 1),)
      return base.Examples(ids, dataset)
    for title, member in zip(titles, members):
      self.check_step(f"{name}: {title}: column {self.time!r}", member.times)
    if self.series is None:
      ids = (str(members[0].times[ends[0] - 1]),)
    if self.known:
      later = [m.times[n : n + self.horizon] for m, n in zip(members, ends)]
      return base.Examples(ids, dataset, times=np.stack(later))
    ahead = self.ahead(name, [member.times for member in members])
    return base.Examples(ids, dataset, times=ahead)

  def _inputs(self, name, members, titles, table=None):
    """Builds examples of the ends of series, with their known columns."""
    inputs, known, numbers, constants = [], [], [], []
    for title, member in zip(titles, members):
      self._check_length(f"{name}: {title}", member)
      numbers.append(self.number_of(member.name))
      moments = self.scale_of(f"{name}: {title}", numbers[-1], member.values)
      constants.append(moments)
      scaled = scale.apply(member.values, *moments)[None]
      fill = np.zeros(scaled.shape[-1])
      if self.mean is None and self.missing != "refuse":
        fill = np.nanmean(scaled[0], axis=0)
      part = missing_values.fill(
        datasets.ArrayDataset(scaled, np.zeros(1)),
        *(self.missing, fill, f"{name}: {title}", self.channels),
        missing_values.OF_FORECASTS,
      )
      inputs.append(part.inputs[0, -self.length :])
      start = len(member.values) - self.length
      rows = slice(start, start + self.length + self.horizon)
      known.append(self._ahead(member, table, rows))
    self._tell(name, [x for x, n in zip(titles, numbers) if not n])
    stacked = np.stack(inputs)
    if self.mean is not None:
      scale.tell_far(stacked, np.ones(stacked.shape[:2], bool), self.channels)
    shape = (len(inputs), self.horizon, stacked.shape[-1])
    extras = datasets.Extras(
      known=np.stack(known) if self.features else None,
      series=np.array(numbers, np.int32) if self.series else None,
      scale=np.array(constants),
    )
    targets = np.full(shape, np.nan, np.float32)
    return datasets.ArrayDataset(stacked, targets, None, extras)

  def _check_length(self, title, member):
    """Rejects series that are too short, or end before the horizon does."""
    count = len(member.values)
    least = max(self.length, 2 if self.time is not None else 1)
    if count < least:
      raise ValueError(
        f"{title}: got {count} times, expected at least {least}, those of an "
        "input."
      )
    later = len(member.rows) - count
    if self.known and later < self.horizon:
      listed = ", ".join(map(repr, self.known))
      raise ValueError(
        f"{title}: got {later} rows behind the last value, expected at least "
        f"{self.horizon}, the times to forecast, with the columns {listed}, "
        "which are known ahead. Add these rows, and leave the values empty."
      )

  def scale_of(
    self, title: str, number: int, values: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation (channels,) of a series.

    Args:
      title: name of the series, for messages.
      number: number of the training series, from 1 on; 0 for a new one.
      values: (time, channels), which scale a new series.

    Raises:
      ValueError: if a channel of a new series has no value.
    """
    count = values.shape[1]
    if self.mean is None:
      return np.zeros(count), np.ones(count)
    # A single series has the training's scale, whatever its name.
    number = number or (0 if self.series else 1)
    if number:
      place = slice((number - 1) * count, number * count)
      return np.array(self.mean[place]), np.array((self.deviation or ())[place])
    empty = np.isnan(values).all(axis=0)
    if empty.any():
      channel = (self.channels or range(count))[int(np.argmax(empty))]
      raise ValueError(f"{title}: got no value of {channel!r}, expected some.")
    return tuple(map(np.array, scale.Scale.of(values)))

  def along(
    self, member: panels.Member, table: table_files.Table | None, rows: slice
  ) -> np.ndarray | None:
    """Returns the features (rows, features) of some rows of a series.

    Args:
      member: the series.
      table: table that it was read from, for messages.
      rows: slice of the series' rows, with a start.

    Returns:
      Features in float32; None without such columns.

    Raises:
      ValueError: if an entry is invalid.
    """
    if not self.features:
      return None
    places = member.rows[rows]
    return self.features_along.encode(
      {name: entries[rows] for name, entries in member.words.items()},
      lambda row, column: table.place(int(places[row]), column),
    )

  def _ahead(self, member, table, rows):
    """The features of rows; the last rows may be absent."""
    found = self.along(member, table, rows)
    if found is None:
      return None
    # Absent rows repeat the features of the last row, which are constant.
    places = np.minimum(np.arange(rows.stop - rows.start), len(found) - 1)
    return found[places]

  def _tell(self, name, unseen):
    """Warns of series that were not trained on."""
    if self.series and unseen:
      logging.warning(
        "%s: %d series, such as %s, were not in the training: they are forecast"
        " by all that series have in common, on the scale of their own values.",
        *(name, len(unseen), unseen[0]),
      )

  def standardize(self, values: np.ndarray) -> np.ndarray:
    """Raises, as each series has its own scale; see `prepare`."""
    raise ValueError(
      "standardize: got values, expected series: their scales differ. Use "
      "`prepare`."
    )

  def restore(
    self, values: np.ndarray, dataset: datasets.ArrayDataset | None = None
  ) -> np.ndarray:
    """Returns standardized values (n, ..., channels) in the file's units.

    Args:
      values: values of the examples.
      dataset: the examples, whose extras.scale has the scales.
    """
    if dataset is None or dataset.extras.scale is None:
      raise validate.error("dataset", dataset, "one with extras.scale")
    mean, deviation = np.moveaxis(dataset.extras.scale, 1, 0)
    between = tuple(range(1, values.ndim - 1))
    mean, deviation = (np.expand_dims(x, between) for x in (mean, deviation))
    return values * deviation + mean
