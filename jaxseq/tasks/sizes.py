"""Sizes of networks, by how much there is to learn from.

The rule is that of the defaults for people's own data, of programs and of
estimators: the fewer targets the training part has, the narrower the network,
and the more is left out of it in training.
"""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import data
from jaxseq.tasks import summary_baselines

# Of a large panel, validation windows that are enough to watch training by: as
# many cost about what the updates between two evaluations do.
VALID_WINDOWS = 2_048
# Series that are enough for a linear model of their summaries.
_ENOUGH = 20


class Size(NamedTuple):
  """The size of a network, and how fast it learns.

  Attributes:
    name: of data of this size.
    d_model: width of the layers.
    num_layers: their number.
    dropout: share of activations that are left out in training.
    learning_rate: peak.
  """

  name: str
  d_model: int
  num_layers: int
  dropout: float
  learning_rate: float = 2e-3

  def fields(self) -> dict[str, Any]:
    """Returns those of the `nn.StackConfig`."""
    names = ("d_model", "num_layers", "dropout")
    return {name: getattr(self, name) for name in names}


# Sizes for fewer targets than a number.
_SIZES = (
  (1_000, Size("few data", 16, 1, 0.1)),
  (20_000, Size("small data", 32, 1, 0.1)),
)
_LARGE = Size("large data", 64, 2, 0.0)


def of(count: int) -> Size:
  """Returns the size for so many targets of the training part.

  Below 1,000 it is one layer of width 16 and below 20,000 one of width 32, with
  a tenth left out, and else two layers of width 64.
  """
  return next((size for below, size in _SIZES if count < below), _LARGE)


def described(count: int, size: Size, more: Mapping[str, Any] = {}) -> str:
  """Returns a line that says what follows from the size of the data.

  Args:
    count: of training targets.
    size: of the network.
    more: further fields of the network, see `series_start`.
  """
  layers = f"{size.num_layers} layer{'s' * (size.num_layers > 1)}"
  start = ""
  if more.get("summaries"):
    start = ", with a linear map of summaries"
  return (
    f"{size.name} ({count:,} to learn from): width {size.d_model}, {layers}, "
    f"dropout {size.dropout:g}, learning rate {size.learning_rate:g}{start}; "
    "what the config sets itself stays."
  )


def elements(splits: data.Splits) -> int:
  """Returns the number of elements of the training part."""
  part = splits.train
  if part.lengths is not None:
    return int(np.sum(part.lengths))
  floating = np.issubdtype(np.asarray(part.inputs).dtype, np.floating)
  shape = np.shape(part.inputs)
  return int(np.prod(shape[:-1] if floating and len(shape) > 2 else shape))


def examples(splits: data.Splits) -> int:
  """Returns the number of examples of the training part."""
  return len(splits.train.targets)


def series_start(splits: data.Splits, axes: int) -> dict[str, Any]:
  """Returns the fields of a network that reads summaries, if it can.

  Args:
    splits: of series.
    axes: of the targets, if series have them as a whole.
  """
  part = splits.train
  if len(part.targets) < _ENOUGH or not summary_baselines.fits(part, axes):
    return {}
  return {"pooling": "mean", "summaries": True}
