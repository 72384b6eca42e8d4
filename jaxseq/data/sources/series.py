"""Series of vectors in time, with a class, with numbers, or without targets."""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import Self
from typing import TypedDict

import numpy as np

from jaxseq import _codec
from jaxseq import _registry
from jaxseq import validate
from jaxseq.data import _fields
from jaxseq.data import _raw_arrays
from jaxseq.data import _series_targets
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import padding
from jaxseq.data import recordings
from jaxseq.data import scale
from jaxseq.data import series_frames
from jaxseq.data import table_layouts
from jaxseq.data.sources import base

# Functions (path, source) -> (Recordings, Targets), by file format. The targets
# are those of the file, or of the kind "none" if it has none.
FORMS = _registry.Registry(
  "reader",
  {
    "npz": "jaxseq.data.npz_series:read_again",
    "table": "jaxseq.data.series_table:read_again",
    "ts": "jaxseq.data.ts_series:read_again",
  },
)


Gaps = Literal["channel", "extras", "ignore"]


class Options(TypedDict, total=False):
  """Options of all loaders of series, with the defaults of `series_table`.

  Attributes:
    valid_fraction: share of the series for validation, if there is no such
      part.
    test_fraction: share of the series for testing, if there is no such part.
    normalize: whether each channel, and each number to predict, is standardized
      to mean 0 and standard deviation 1 over the training part.
    missing: handling of missing values, see `data.missing`.
    seed: seed of the random split by share.
  """

  valid_fraction: float
  test_fraction: float
  normalize: bool
  missing: missing_values.Missing
  seed: int


@dataclasses.dataclass(frozen=True)
class SeriesSource(base.Source):
  """Series of any lengths, padded at their ends.

  `prepare` takes (n, time, channels), a sequence of arrays (time_i, channels),
  NaN where a value is missing, or of frames; or a frame of all series. Columns
  of frames and fields of arrays are selected by name. `times` are the times of
  each element, if the training data had any.

  Attributes:
    channels: names of the raw channels, before any that marks missing values.
    classes: names of the classes.
    targets: names of the numbers to predict in a regression.
    stepwise: whether there is such a number at every element of a series.
    mean: subtracted mean of each channel; None leaves values unchanged.
    deviation: deviation that then divides each channel; above 0.
    target_mean: mean of each target.
    target_deviation: deviation of each target.
    missing: handling of missing values, see `data.missing`.
    fill: standardized value of each channel for missing values without a value
      before them.
    length: elements in time of the training examples, to which shorter ones are
      padded.
    gaps: use of the time since the element before: one more "channel", or
      "extras".gaps; None if the steps are equal, or there are no time stamps.
    step: the usual time from one element to the next, which counts 1 in gaps;
      without gaps it is required of other series, too.
    dates: whether times are dates; None if there are no times, or unknown.
    columns: roles of a table's columns.
    target: kind of a file's labels, see `series_table.load`.
  """

  kind: ClassVar[str] = "series"
  forms: ClassVar[tuple[str, ...]] = FORMS.names()

  _: dataclasses.KW_ONLY
  channels: tuple[str, ...] | None = None
  classes: tuple[str, ...] | None = None
  targets: tuple[str, ...] | None = None
  stepwise: bool = False
  mean: tuple[float, ...] | None = None
  deviation: tuple[float, ...] | None = None
  target_mean: tuple[float, ...] | None = None
  target_deviation: tuple[float, ...] | None = None
  missing: missing_values.Missing = "refuse"
  fill: tuple[float, ...] | None = None
  length: base.Count | None = None
  gaps: Literal["channel", "extras"] | None = None
  step: base.Positive | None = None
  dates: bool | None = None
  columns: table_layouts.Columns | None = None
  target: Literal["class", "number", "step", "none"] = "none"

  def __post_init__(self):
    super().__post_init__()
    scale.check("deviation", self.mean, self.deviation)
    scale.check("target_deviation", self.target_mean, self.target_deviation)

  def to_json(self) -> dict[str, Any]:
    """See `Source.to_json`."""
    fields = super().to_json()
    if self.columns is not None:
      fields["columns"] = _codec.encode(self.columns, "columns")
    return fields

  @classmethod
  def of_json(cls, fields: Mapping[str, Any]) -> Self:
    """See `Source.of_json`."""
    if fields.get("columns") is not None:
      columns = _fields.make(
        table_layouts.Columns, fields["columns"], "columns"
      )
      fields = {**fields, "columns": columns}
    return super().of_json(fields)

  def _prepare(self, values, lengths, times, targets):
    names = None
    if series_frames.is_frame(values):
      if _is_nested(values):
        frame = series_frames.series_of(values)
        values, names = frame.values, frame.channels
        if times is None and self._reads(frame.times):
          times = frame.times
      else:
        values = [values]
    if times is None and all(map(series_frames.is_frame, values)):
      stamps = [series_frames.stamps(row.index) for row in values]
      times = stamps if self._reads(stamps) else None
    rows = [
      _raw_arrays.series(f"series {number}", row, self.channels, names)
      for number, row in enumerate(_raw_arrays.rows(values, lengths))
    ]
    scaled = [self.standardize(row) for row in rows]
    length = max(max(map(len, scaled), default=0), self.length or 0)
    inputs, lengths = padding.pad_sequences(scaled, length)
    part = datasets.ArrayDataset(
      inputs, self._targets(targets, lengths, length), lengths
    )
    if self.mean is not None:
      scale.tell_far(inputs, datasets.inside(part), self.channels)
    part = missing_values.fill(
      part, self.missing, self.fill, channels=self.channels
    )
    part = self._with_times(part, times)
    return part._replace(lengths=None) if np.all(lengths == length) else part

  def _reads(self, times):
    """True if times of an index could be those of training data."""
    # Numbers only count rows, unless the training had unequal steps of them.
    return bool(times) and (
      self.gaps is not None or _time_stamps.are_dates(times[0])
    )

  def _with_times(self, part, times):
    """Adds the time since the element before, if the network reads it."""
    count = len(part.inputs)
    if self.gaps is None and (times is None or self.step is None):
      return part
    if times is None or len(times) != count:
      got = None if times is None else f"{len(times)} arrays"
      expected = f"the times of each of the {count} series"
      raise validate.error("times", got, expected)
    gaps = np.zeros(part.inputs.shape[:2], np.float32)
    for number, (row, length) in enumerate(zip(gaps, part.lengths)):
      name = f"times of series {number}"
      stamps = _time_stamps.as_array(times[number])
      self._check_kind(name, stamps)
      stamps = _time_stamps.seconds(stamps)
      stamps = _raw_arrays.times(name, stamps, length)
      if self.gaps is None:
        _time_stamps.check_step(name, stamps, self.step)
        continue
      between = np.diff(stamps)
      if (between <= 0).any():
        element = int(np.argmax(between <= 0)) + 1
        got = f"{stamps[element]:g} after {stamps[element - 1]:g}"
        raise ValueError(
          f"{name}, element {element}: got {got}, expected times that increase."
        )
      # The first element has no gap: it gets one usual step.
      row[0] = 1.0
      row[1:length] = between / (self.step or 1.0)
    if self.gaps is None:
      return part
    later = datasets.inside(part)[:, 1:]
    _time_stamps.tell_unit(_time_stamps.usual_step([gaps[:, 1:][later]]), 1.0)
    if self.gaps == "extras":
      return part._replace(extras=part.extras._replace(gaps=gaps))
    inputs = np.concatenate([part.inputs, gaps[..., None]], axis=-1)
    return part._replace(inputs=inputs)

  def _check_kind(self, name, stamps):
    """Rejects dates if the training had numbers, and numbers for dates."""
    kinds = "numbers", "dates"
    if self.dates is not None and _time_stamps.are_dates(stamps) != self.dates:
      expected = f"{kinds[self.dates]}, as in training"
      raise validate.error(name, kinds[not self.dates], expected)

  def _targets(self, targets, lengths, time):
    """Returns classes by name or number, standardized numbers, or unknowns."""
    count = len(lengths)
    if self.targets is None:
      return _raw_arrays.class_targets(targets, self.classes, count)
    width = len(self.targets)
    if targets is None:
      shape = (count, time, width) if self.stepwise else (count, width)
      return np.full(shape, np.nan, np.float32)
    if not self.stepwise:
      validate.shape("targets", targets, (count, width))
      return self._standardize_targets(np.asarray(targets, np.float64))
    if len(targets) != count:
      expected = f"one array for each of the {count} series"
      raise validate.error("targets", f"{len(targets)} arrays", expected)
    rows = [np.asarray(row, np.float64) for row in targets]
    for number, (row, length) in enumerate(zip(rows, lengths)):
      validate.shape(f"targets of series {number}", row, (int(length), width))
    scaled = [self._standardize_targets(row) for row in rows]
    return padding.pad_sequences(scaled, time)[0]

  def _read(self, path: Any) -> base.Examples:
    whole, targets = FORMS.get(self.reader)(path, self)
    if self.missing == "refuse":
      whole.refuse_missing(trained=True)
    rows = np.arange(len(whole.ids))
    return base.Examples(
      whole.ids, self.part(whole, rows, targets), targets.kind != "none"
    )

  def part(
    self,
    whole: recordings.Recordings,
    rows: np.ndarray,
    targets: _series_targets.Targets,
  ) -> datasets.ArrayDataset:
    """Returns some series of a file as examples.

    Args:
      whole: the series.
      rows: numbers of the series to return.
      targets: targets of all series; unknown if there are none.
    """
    times = None
    if whole.stamps is not None:
      times = [whole.stamps[i] for i in rows]
      if self.gaps is None and self.step is not None:
        for number, stamps in zip(rows, times):
          place = whole.place(int(number), None, 0)
          _time_stamps.check_step(place, stamps, self.step)
    numbers = None
    if targets.kind == "step":
      numbers = [targets.values[i] for i in rows]
    elif targets.kind != "none":
      numbers = targets.values[rows]
    return self.prepare(
      [whole.values[i] for i in rows], times=times, targets=numbers
    )

  def standardize(self, values: np.ndarray) -> np.ndarray:
    """Subtracts the mean and divides by the deviation; float32."""
    return scale.apply(values, self.mean, self.deviation)

  def restore(self, values: np.ndarray) -> np.ndarray:
    """Returns standardized values (..., channels) in the file's units."""
    return scale.undo(values, self.mean, self.deviation)

  def _standardize_targets(self, values):
    return scale.apply(values, self.target_mean, self.target_deviation)

  def restore_targets(self, values: np.ndarray) -> np.ndarray:
    """Returns predicted numbers (..., targets) in the file's units."""
    return scale.undo(values, self.target_mean, self.target_deviation)


def _is_nested(frame):
  """True if a frame holds series in its cells or by index, not numbers."""
  several = getattr(frame.index, "nlevels", 1) > 1
  return several or (frame.size > 0 and np.ndim(frame.iloc[0, 0]) > 0)
