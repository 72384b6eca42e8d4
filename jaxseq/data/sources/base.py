"""The base class of sources: checked fields, and their JSON."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import os
import typing
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import NamedTuple
from typing import Self
from typing import final

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _fields
from jaxseq.data import datasets
from jaxseq.data.files import text_forms

# Types of fields with bounds: an integer from 1 on; a number above 0.
Count = Annotated[int, "count"]
Positive = Annotated[float, "positive"]


class Examples(NamedTuple):
  """Examples of a file, ready for a network.

  Attributes:
    ids: name of each example in the file: the entry of its column of
      identifiers, or its number, from 0 on.
    dataset: the examples. Targets that the file lacks are -1, if they are
      classes or tokens, and NaN, if they are numbers.
    labeled: whether the file has targets.
    times: (n, horizon) float64 or datetime64, times of each forecast; None for
      other data, or without time stamps.
  """

  ids: tuple[str, ...]
  dataset: datasets.ArrayDataset
  labeled: bool = False
  times: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Source:
  """One kind of data: converts its raw form to network inputs.

  A source is JSON, stored in a file next to the network's variables. Its
  constants come from the training examples, whatever it is applied to.
  Fields are checked by their types: numbers are finite, one of type `Count` is
  an integer of at least 1, and one of type `Positive` is above 0.

  Attributes:
    reader: format of the files that it was read from; None for data without
      files that users have.
  """

  kind: ClassVar[str]
  # File formats; `read` reads the first by default.
  forms: ClassVar[tuple[str, ...]] = ()
  # Fields that some kinds have.
  channels = classes = targets = horizon = series = None

  _: dataclasses.KW_ONLY
  reader: str | None = None

  def __post_init__(self):
    validate.literals(self)
    _fields.check(self)
    hints = typing.get_type_hints(type(self), include_extras=True)
    for field in dataclasses.fields(self):
      name, value, hint = (
        field.name,
        getattr(self, field.name),
        hints[field.name],
      )
      kinds = (hint, *typing.get_args(hint))
      if value is not None and Count in kinds:
        validate.integer(name, value, 1, limits.COUNT)
      elif value is not None and Positive in kinds:
        validate.above_zero(name, value)
    if self.reader is not None:
      validate.choice("reader", self.reader, self.forms)

  def read(self, path: str | os.PathLike | Any) -> Examples:
    """Reads examples from a file of the same form as the training data.

    Args:
      path: the file, folder or pattern, as for the data set's loader; for
        tables also a pandas frame with the same columns.

    Returns:
      The examples, in the order of the file, prepared as in training.

    Raises:
      ValueError: if a line, column or value is invalid.
      MissingData: if there is no such file.
    """
    if self.reader is None:
      raise ValueError(
        f"{path}: the model was trained on data that come in no file of their "
        "own; hand their arrays to `prepare`."
      )
    return self._read(path)

  @property
  def reads_frames(self) -> bool:
    """True if `read` accepts pandas frames, as it does if it reads tables."""
    return self.reader is not None and self.reader.endswith("table")

  def _read(self, path: Any) -> Examples:
    raise NotImplementedError

  @final
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
      values: the examples, in the form that the class documents.
      lengths: (n,), lengths of the sequences in a padded array.
      times: time of each element: one array (time_i,) for each example.
      targets: (n,) classes, by name or number, or (n, targets) numbers in the
        file's units; a sequence of arrays (time_i, targets) if every element
        has some; unknown if None.

    Returns:
      The examples; unknown targets are -1, or NaN if they are numbers.

    Raises:
      ValueError: naming the invalid argument.
    """
    return self._prepare(values, lengths, times, targets)

  def _prepare(self, values, lengths, times, targets) -> datasets.ArrayDataset:
    raise NotImplementedError

  def to_json(self) -> dict[str, Any]:
    """Returns the kind, and the fields that differ from their defaults."""
    fields: dict[str, Any] = {"kind": self.kind}
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value != field.default:
        fields[field.name] = list(value) if isinstance(value, tuple) else value
    return fields

  @classmethod
  def of_json(cls, fields: Mapping[str, object]) -> Self:
    """Undoes `to_json`; `fields` are without the kind.

    Raises:
      ValueError: naming the invalid field.
    """
    return _fields.make(cls, fields, "preparation")


@dataclasses.dataclass(frozen=True)
class TableSource(Source):
  """A kind of data in tables, with the format of these.

  Attributes:
    delimiter: between columns; if None a comma, or a tab in a .tsv file, or
      the one in the first line.
    encoding: of texts, such as "cp1252"; detected per file if None.
    decimal: decimal sign, "." or ","; detected per file if None.
    date_format: of dates, such as "%d.%m.%Y"; detected if None.
  """

  _: dataclasses.KW_ONLY
  delimiter: str | None = None
  encoding: str | None = None
  decimal: str | None = None
  date_format: str | None = None

  @property
  def form(self) -> text_forms.Form:
    """Format of the tables."""
    return text_forms.Form(
      self.delimiter, self.encoding, self.decimal, self.date_format
    )
