"""Preparation of raw data for a network, exactly as in training.

    splits = data.load("table", path="train.csv", label="label")
    preparation = splits.info.preparation
    examples = preparation.read("later.csv")
    dataset = preparation.prepare([values_of_one, values_of_another])

A preparation is JSON: it goes into a file beside the network's variables. Its
constants are those of the training examples, whatever it is applied to.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
import os
from typing import Any
from typing import Literal
from typing import NamedTuple

import numpy as np

from jaxseq import _registry
from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import raw_arrays

Kind = Literal["series", "forecast", "text", "events", "images", "tokens"]

# Functions (path, preparation) -> Examples, by the name of what they read.
READERS = _registry.Registry(
  "reader",
  {
    "forecast_table": "jaxseq.data.forecast_table:read_examples",
    "event_table": "jaxseq.data.event_table:read_examples",
    "image_folders": "jaxseq.data.image_folders:read_examples",
    "npz": "jaxseq.data.npz_series:read_examples",
    "table": "jaxseq.data.series_table:read_examples",
    "text_files": "jaxseq.data.text_files:read_examples",
    "ts": "jaxseq.data.files.uea:read_examples",
  },
)


class Examples(NamedTuple):
  """Examples of a file, ready for a network.

  Attributes:
    ids: name of each example in the file: the entry of its column of
      identifiers, or its number, from 0 on.
    dataset: the examples. Targets that the file lacks are -1, if they are
      classes or tokens, and NaN, if they are numbers.
    labeled: whether the file has targets.
    times: (n, horizon) float64 or datetime64, when each forecast is for; None
      where nothing is forecast, or there are no time stamps.
  """

  ids: tuple[str, ...]
  dataset: datasets.ArrayDataset
  labeled: bool = False
  times: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Preparation:
  """Everything that turns raw data into inputs of a network.

  Attributes:
    kind: what the examples are: "series" of vectors in time; the windows of one
      long series, to "forecast"; "text", whose bytes or tokens are modeled;
      sequences of "events" in time; "images"; or sequences of "tokens".
    channels: names of the raw channels, before any that marks missing values.
    classes: names of the classes, or of the marks of events.
    targets: names of the numbers to predict, of a regression.
    stepwise: whether there is such a number at every element of a series.
    mean: of each channel, which is subtracted; None leaves values as they are.
    deviation: of each channel, which then divides; above 0.
    target_mean: of each target likewise.
    target_deviation: of each target likewise.
    missing: what becomes of missing values, see `data.missing`.
    fill: of each channel, after mean and deviation: what stands for a value
      that is missing and has none before it.
    length: elements in time of the training examples, to which shorter ones are
      padded; of a forecast those of the input.
    horizon: times to forecast; or until when events were observed.
    gaps: where the time since the element before goes: one more "channel", or
      "extras".gaps; None without time stamps.
    step: time that counts 1 in gaps.
    vocab_size: number of tokens.
    tokens: what the tokens stand for.
    tokenizer: JSON of the package tokenizers, which makes tokens of texts; None
      for bytes.
    image_size: height and width.
    reader: which reader the file was read by, a key of `READERS`; None for what
      comes in no file that anyone else has.
    reader_options: options of that reader: which columns hold what.
  """

  kind: Kind
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
  length: int | None = None
  horizon: float | None = None
  gaps: Literal["channel", "extras"] | None = None
  step: float | None = None
  vocab_size: int | None = None
  tokens: tuple[str, ...] | None = None
  tokenizer: str | None = None
  image_size: tuple[int, int] | None = None
  reader: str | None = None
  reader_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    _validate.literals(self)
    for name, (expected, check) in _FIELDS.items():
      value = getattr(self, name)
      if value is not None and not check(value):
        raise _validate.error(name, value, expected)
    if self.gaps is not None:
      _validate.choice("gaps", self.gaps, ("channel", "extras"))
    for pair in (("mean", "deviation"), ("target_mean", "target_deviation")):
      means, deviations = (getattr(self, name) for name in pair)
      if (means is None) != (deviations is None) or (
        means is not None and len(means) != len(deviations)
      ):
        raise _validate.error(pair[1], deviations, f"as many as {pair[0]}")
      if deviations is not None and min(deviations) <= 0:
        raise _validate.error(pair[1], deviations, "numbers above 0")

  def read(self, path: str | os.PathLike) -> Examples:
    """Reads examples from a file of the same form as the training data.

    Args:
      path: the file, folder or pattern, as the data set's loader takes it.

    Returns:
      The examples, in the order of the file, prepared as in training.

    Raises:
      ValueError: if a line, column or value is not as it is expected.
      MissingData: if there is no such file.
    """
    if self.reader is None:
      raise ValueError(
        f"{path}: the model was trained on data that come in no file of their "
        "own; hand their arrays to `prepare`."
      )
    return READERS.get(self.reader)(path, self)

  def prepare(
    self,
    values: Any,
    lengths: np.ndarray | None = None,
    *,
    times: Sequence[np.ndarray] | None = None,
    targets: Any = None,
  ) -> datasets.ArrayDataset:
    """Prepares raw arrays as in training.

    Args:
      values: of "series" and "forecast", (n, time, channels), or a sequence of
        arrays (time_i, channels), NaN where a value is missing; a forecast is
        of what follows each of them. Of "images" (n, height, width) or (n,
        height, width, colors). Of "tokens" and "text" (n, time) integers, or a
        sequence of arrays (time_i,); of texts of bytes also str or bytes.
      lengths: (n,), elements that count, of a padded array.
      times: of series with gaps, when each element is: one array (time_i,) of
        numbers for each of them. Of events the same, and `values` are marks.
      targets: (n,) classes, by name or number, or (n, targets) numbers in the
        file's units; a sequence of arrays (time_i, targets) where there are
        some at every element; unknown if None.

    Returns:
      The examples; unknown targets are -1, or NaN if they are numbers.

    Raises:
      ValueError: naming what is not as expected.
    """
    return raw_arrays.METHODS[self.kind](self, values, lengths, times, targets)

  def standardize(self, values: np.ndarray) -> np.ndarray:
    """Subtracts the mean and divides by the deviation; float32."""
    if self.mean is not None:
      values = (values - np.array(self.mean)) / np.array(self.deviation)
    return values.astype(np.float32)

  def standardize_targets(self, values: np.ndarray) -> np.ndarray:
    """Standardizes numbers to predict (..., targets) likewise; float32."""
    if self.target_mean is not None:
      scale = np.array(self.target_deviation)
      values = (values - np.array(self.target_mean)) / scale
    return values.astype(np.float32)

  def restore(self, values: np.ndarray) -> np.ndarray:
    """Returns standardized values (..., channels) in the file's units."""
    if self.mean is None:
      return np.asarray(values, np.float64)
    return values * np.array(self.deviation) + np.array(self.mean)

  def restore_targets(self, values: np.ndarray) -> np.ndarray:
    """Returns predicted numbers (..., targets) in the file's units."""
    if self.target_mean is None:
      return np.asarray(values, np.float64)
    scale = np.array(self.target_deviation)
    return values * scale + np.array(self.target_mean)

  def to_json(self) -> dict[str, Any]:
    """Returns the fields that are not None, of values that JSON has."""
    fields = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
    }
    return {
      name: list(value) if isinstance(value, tuple) else value
      for name, value in fields.items()
      if value is not None
    }

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> "Preparation":
    """Undoes `to_json`.

    Args:
      fields: what was JSON, from whoever wrote it.

    Raises:
      ValueError: naming the field that is not as it should be.
    """
    if not isinstance(fields, Mapping):
      expected = "an object of its fields"
      raise _validate.error("preparation", type(fields).__name__, expected)
    known = [field.name for field in dataclasses.fields(cls)]
    for name in fields:
      _validate.choice("preparation: field", name, known)
    if "kind" not in fields:
      raise ValueError("preparation: got no kind, expected one.")
    return cls(
      **{
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
      }
    )


def derive(splits: datasets.Splits) -> Preparation:
  """Returns the preparation of a set that comes in no file of a known form.

  Args:
    splits: the set, whose loader says nothing of how to prepare other data.

  Returns:
    The preparation of arrays that are as this set's inputs already are.
  """
  inputs, info = splits.train.inputs, splits.info
  known = {"classes": info.classes, "length": inputs.shape[1]}
  if inputs.ndim == 2:
    text = splits.train.targets.ndim == 2
    return Preparation(
      "text" if text else "tokens",
      vocab_size=info.vocab_size,
      tokens=info.tokens,
      **(known if not text else {}),
    )
  if splits.train.extras.times is not None:
    return Preparation("events", horizon=info.horizon, **known)
  return Preparation("series", channels=info.channels, **known)


def as_numbers(values: Any) -> tuple[float, ...] | None:
  """Returns an array (n,) as the numbers of a field; None as None."""
  if values is None:
    return None
  return tuple(float(value) for value in np.atleast_1d(values))


def _is_names(value):
  return isinstance(value, tuple) and all(isinstance(x, str) for x in value)


def _is_number(value):
  plain = type(value) in (int, float) and not isinstance(value, bool)
  return plain and math.isfinite(value)


def _is_numbers(value):
  return (
    isinstance(value, tuple) and len(value) > 0 and all(map(_is_number, value))
  )


def _is_count(value):
  return type(value) is int and value > 0


_NAMES = ("names", _is_names)
_NUMBERS = ("finite numbers", _is_numbers)
_COUNT = ("an integer of at least 1", _is_count)
_FIELDS = {
  **dict.fromkeys(("channels", "classes", "targets", "tokens"), _NAMES),
  **dict.fromkeys(("mean", "deviation", "fill"), _NUMBERS),
  **dict.fromkeys(("target_mean", "target_deviation"), _NUMBERS),
  **dict.fromkeys(("length", "vocab_size"), _COUNT),
  "horizon": ("a number above 0", lambda x: _is_number(x) and x > 0),
  "step": ("a number above 0", lambda x: _is_number(x) and x > 0),
  "image_size": (
    "height and width",
    lambda x: isinstance(x, tuple) and len(x) == 2 and all(map(_is_count, x)),
  ),
  "stepwise": ("True or False", lambda x: isinstance(x, bool)),
  "tokenizer": ("a text", lambda x: isinstance(x, str)),
  "reader": ("a name", lambda x: isinstance(x, str)),
  "reader_options": ("an object", lambda x: isinstance(x, Mapping)),
}
