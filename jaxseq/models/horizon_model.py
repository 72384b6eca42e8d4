"""Models of the next values of a multivariate series."""

from typing import TYPE_CHECKING
from typing import Any

import jax
import numpy as np

from jaxseq import data
from jaxseq.data import preparation as preparations
from jaxseq.models import predictions
from jaxseq.tasks import forecasting

if TYPE_CHECKING:
  from jaxseq.models.model import Model

NETWORK = forecasting.Forecaster


def time_axis(network: forecasting.Forecaster) -> int:
  """Returns which axis of the inputs is time."""
  del network
  return 1


def arguments(
  network: forecasting.Forecaster, dataset: data.ArrayDataset
) -> dict[str, np.ndarray]:
  """Returns "inputs" (n, time, channels)."""
  del network
  return {"inputs": np.asarray(dataset.inputs)}


def compute(
  network: forecasting.Forecaster,
  variables: Any,
  arguments: dict[str, jax.Array],
) -> dict[str, jax.Array]:
  """Returns "forecast" (n, horizon, channels), standardized as the inputs."""
  return {"forecast": network.apply(variables, arguments["inputs"])}


def predict(
  model: "Model", examples: preparations.Examples
) -> predictions.Predictions:
  """Returns a row for each time of each forecast.

  Returns:
    The columns "id", "step" (from 1), "time" where the series has time stamps,
    and one of each channel, in its own units; where the examples have it also
    "NAME_target". The network gives no distribution, so there are no intervals.
  """
  found = model.outputs(examples.dataset)
  prepared = model.preparation
  count, horizon, channels = found["forecast"].shape
  names = prepared.channels or tuple(f"channel_{i}" for i in range(channels))
  columns: dict[str, Any] = {
    "id": np.repeat(np.array(examples.ids), horizon),
    "step": np.tile(np.arange(1, horizon + 1), count),
  }
  if examples.times is not None:
    columns["time"] = np.asarray(examples.times).reshape(-1)
  values = prepared.restore(found["forecast"]).reshape(-1, channels)
  columns |= dict(zip(names, values.T))
  if examples.labeled:
    true = prepared.restore(np.asarray(examples.dataset.targets))
    true = true.reshape(-1, channels)
    columns |= {f"{name}_target": x for name, x in zip(names, true.T)}
  return predictions.Predictions(columns, found)
