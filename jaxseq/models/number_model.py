"""Models of numbers, at every element or of whole sequences, with variance."""

from typing import TYPE_CHECKING
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.models import predictions
from jaxseq.tasks import regression

if TYPE_CHECKING:
  from jaxseq.models.model import Model

NETWORK = regression.Regressor


def time_axis(network: regression.Regressor) -> int:
  """Returns which axis of the inputs is time."""
  del network
  return 1


def arguments(
  network: regression.Regressor, dataset: data.ArrayDataset
) -> dict[str, np.ndarray]:
  """Returns "inputs" and, where the data have it, "gaps" and "lengths".

  Lengths are for pooling: without it what lies behind an end is no prediction.
  """
  arrays = {"inputs": dataset.inputs, "gaps": dataset.extras.gaps}
  if _is_whole(network):
    arrays["lengths"] = dataset.lengths
  return {k: np.asarray(x) for k, x in arrays.items() if x is not None}


def compute(
  network: regression.Regressor, variables: Any, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "mean" and "deviation" (n, time, numbers), or (n, numbers)."""
  arrays = (arguments.get(name) for name in ("inputs", "gaps", "lengths"))
  mean, variance = network.apply(variables, *arrays)
  deviation = jnp.sqrt(jnp.maximum(variance, regression.FLOOR))
  return {"mean": mean, "deviation": deviation}


def predict(model: "Model", examples: data.Examples) -> predictions.Predictions:
  """Returns a row for each element of each example, or for each example.

  Returns:
    The columns "id", "element" (from 0; not of whole sequences), and of each
    number its "NAME" and "NAME_deviation", the standard deviation, in the units
    of the data; where the examples have it also "NAME_target".
  """
  outputs = model.outputs(examples.dataset)
  prepared = model.preparation
  numbers = outputs["mean"].shape[-1]
  names = prepared.targets or tuple(f"number_{i}" for i in range(numbers))
  scale = np.ones(numbers)
  if prepared.target_deviation is not None:
    scale = np.array(prepared.target_deviation)
  mean = prepared.restore_targets(outputs["mean"])
  columns: dict[str, Any] = {"id": np.array(examples.ids)}
  shown: Any = slice(None)
  if not _is_whole(model.network):
    shown = data.datasets.inside(examples.dataset, mean.shape[1])
    counts = shown.sum(axis=1)
    columns["id"] = np.repeat(columns["id"], counts)
    columns["element"] = predictions.places(counts)
  for i, name in enumerate(names):
    columns[name] = mean[..., i][shown]
    columns[f"{name}_deviation"] = (
      outputs["deviation"][..., i][shown] * scale[i]
    )
  if examples.labeled:
    targets = prepared.restore_targets(np.asarray(examples.dataset.targets))
    for i, name in enumerate(names):
      columns[f"{name}_target"] = targets[..., i][shown]
  return predictions.Predictions(columns, outputs)


def _is_whole(network):
  """True if a sequence has its numbers as a whole."""
  return network.config.network.pooling != "none"
