"""Models of numbers at every element of a sequence, with their variance."""

from typing import TYPE_CHECKING
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.data import preparation as preparations
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
  """Returns "inputs" and, where the data have it, "gaps"."""
  del network
  found = {"inputs": dataset.inputs, "gaps": dataset.extras.gaps}
  return {k: np.asarray(x) for k, x in found.items() if x is not None}


def compute(
  network: regression.Regressor, variables: Any, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "mean" and "deviation" (n, time, numbers)."""
  mean, variance = network.apply(
    variables, arguments["inputs"], arguments.get("gaps")
  )
  deviation = jnp.sqrt(jnp.maximum(variance, regression.FLOOR))
  return {"mean": mean, "deviation": deviation}


def predict(
  model: "Model", examples: preparations.Examples
) -> predictions.Predictions:
  """Returns a row for each element of each example.

  Returns:
    The columns "id", "element" (from 0), and of each number its "NAME" and
    "NAME_deviation", the standard deviation, in the units of the data; where
    the examples have it also "NAME_target".
  """
  found = model.outputs(examples.dataset)
  prepared = model.preparation
  _, time, numbers = found["mean"].shape
  shown = predictions.inside(time, examples.dataset)
  counts = shown.sum(axis=1)
  names = prepared.targets or tuple(f"number_{i}" for i in range(numbers))
  scale = np.ones(numbers)
  if prepared.target_deviation is not None:
    scale = np.array(prepared.target_deviation)
  mean = prepared.restore_targets(found["mean"])
  columns: dict[str, Any] = {
    "id": np.repeat(np.array(examples.ids), counts),
    "element": predictions.places(counts),
  }
  for i, name in enumerate(names):
    columns[name] = mean[..., i][shown]
    columns[f"{name}_deviation"] = found["deviation"][..., i][shown] * scale[i]
  if examples.labeled:
    targets = prepared.restore_targets(np.asarray(examples.dataset.targets))
    for i, name in enumerate(names):
      columns[f"{name}_target"] = targets[..., i][shown]
  return predictions.Predictions(columns, found)
