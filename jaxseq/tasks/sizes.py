"""Sizes of networks, by the number of training targets.

The rule gives the defaults for users' own data, in programs and in estimators:
the fewer targets the training part has, the narrower the network, and the
higher the dropout.
"""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import data
from jaxseq.tasks import summary_baselines

# Validation windows that are enough to monitor training on a large panel: they
# cost about as much as the updates between two evaluations.
VALID_WINDOWS = 2_048
# Number of series that is enough for a linear model of their summaries.
_ENOUGH = 20


class Size(NamedTuple):
  """The size of a network, and its learning rate.

  Attributes:
    name: name of data of this size.
    d_model: width of the layers.
    num_layers: number of layers.
    dropout: dropout rate.
    learning_rate: peak learning rate.
  """

  name: str
  d_model: int
  num_layers: int
  dropout: float
  learning_rate: float = 2e-3

  def fields(self) -> dict[str, Any]:
    """Returns the fields of the `nn.StackConfig`."""
    names = ("d_model", "num_layers", "dropout")
    return {name: getattr(self, name) for name in names}


# Sizes, each with its upper bound of the number of targets.
_SIZES = (
  (1_000, Size("few data", 16, 1, 0.1)),
  (20_000, Size("small data", 32, 1, 0.1)),
)
_LARGE = Size("large data", 64, 2, 0.0)


def of(count: int) -> Size:
  """Returns the size for a number of targets of the training part.

  Below 1,000 it is one layer of width 16 and below 20,000 one of width 32, with
  a dropout of 0.1, and else two layers of width 64.
  """
  return next((size for below, size in _SIZES if count < below), _LARGE)


def described(count: int, size: Size, more: Mapping[str, Any] = {}) -> str:
  """Returns a line about the options derived from the size of the data.

  Args:
    count: number of training targets.
    size: size of the network.
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
  """Returns the fields of a network that reads summaries, if applicable.

  Args:
    splits: splits of series.
    axes: number of axes of the targets if they are per series.
  """
  part = splits.train
  if len(part.targets) < _ENOUGH or not summary_baselines.fits(part, axes):
    return {}
  return {"pooling": "mean", "summaries": True}
