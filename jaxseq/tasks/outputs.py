"""The outputs of a task's models, as arrays and as columns."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from jaxseq.types import Network

Arrays = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
  """A kind of model: its computation, and the form of its predictions.

  Attributes:
    network: class of the network, a Flax module whose fields are JSON.
    arguments: (network, dataset) -> arrays by name, with an axis of examples.
    compute: (network, variables, arguments) -> arrays by name, with the same
      axis; it can be compiled and exported.
    predict: (model, examples) -> columns by name, beginning with those of
      `rows`, and the arrays that they are computed from.
    time_axis: network -> the time axis of the arguments, of any length; None if
      there is none.
    calibrate: (network, variables, splits) -> variables with the widths of
      intervals that the network does not compute; None without intervals.
    stream: (model, most_users=None) -> a function that answers one event after
      the other, from the entries of its row by column to a dict for JSON, and
      keeps at most so many users; None if the model has no streams.
  """

  network: type
  arguments: Callable[[Any, Any], dict[str, np.ndarray]]
  compute: Callable[[Any, Any, Any], dict[str, Any]]
  predict: Callable[[Any, Any], tuple[dict[str, Any], Arrays]]
  time_axis: Callable[[Any], int | None] = lambda network: 1
  calibrate: Callable[[Any, Any, Any], Any] | None = None
  stream: (
    Callable[..., Callable[[Mapping[str, str]], dict[str, Any]]] | None
  ) = None


def present(**arrays: object) -> dict[str, np.ndarray]:
  """Returns the arrays that are not None, by name."""
  return {k: np.asarray(x) for k, x in arrays.items() if x is not None}


def tokens(network: Network, dataset: Any) -> dict[str, np.ndarray]:
  """Returns the arguments "tokens" (n, time) and "lengths" (n,), both int32."""
  del network
  inputs, lengths = np.asarray(dataset.inputs, np.int32), dataset.lengths
  if lengths is None:
    lengths = np.full(len(inputs), inputs.shape[1])
  return {"tokens": inputs, "lengths": np.asarray(lengths, np.int32)}


def rows(ids: Sequence[str], shown: np.ndarray, name: str) -> dict[str, Any]:
  """Returns the columns "id" and `name`, the index, of elements.

  Args:
    ids: (n,) identifiers of the examples.
    shown: (n, time) bool, elements that have a row.
    name: name of the second column.
  """
  example, element = np.nonzero(shown)
  return {"id": labels(ids)[example], name: element}


def labels(names: Sequence[Any]) -> np.ndarray:
  """Returns names (n,) as an array, of objects if their types differ."""
  if len({type(name) for name in names}) > 1:
    return np.fromiter(names, object, len(names))
  return np.array(names)


def class_names(names: Sequence[str], numbers: np.ndarray) -> np.ndarray:
  """Returns the names of classes (...); "" for -1, which is unknown."""
  return np.where(numbers < 0, "", np.array(names)[numbers])


def probabilities(
  names: Sequence[str], values: np.ndarray, shown: Any
) -> dict[str, np.ndarray]:
  """Returns the columns "probability_NAME" of values (..., names)."""
  columns = enumerate(names)
  return {f"probability_{name}": values[..., i][shown] for i, name in columns}
