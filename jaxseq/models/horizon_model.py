"""Models of the next values of a multivariate series."""

import functools
from typing import TYPE_CHECKING
from typing import Any

import jax
import numpy as np

from jaxseq import data
from jaxseq.models import predictions
from jaxseq.tasks import conformal
from jaxseq.tasks import forecasting

if TYPE_CHECKING:
  from jaxseq.models.model import Model

NETWORK = forecasting.Forecaster
# Validation windows that intervals come from, at most, and numbers of them.
_WINDOWS, _NUMBERS = 4096, 2**26
# Windows that are computed together.
_BATCH = 256


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
  """Returns "forecast" (n, horizon, channels), standardized as the inputs.

  With it come "lower_80" and "upper_80", the ends of its intervals, and those
  of the other levels that the variables have widths of.
  """
  forecast = network.apply(variables, arguments["inputs"])
  outputs = {"forecast": forecast}
  for level, width in variables.get(conformal.COLLECTION, {}).items():
    outputs[f"lower_{level}"] = forecast - width
    outputs[f"upper_{level}"] = forecast + width
  return outputs


def errors(
  network: forecasting.Forecaster, variables: Any, windows: data.ArrayDataset
) -> np.ndarray:
  """Returns how far forecasts are off, in order.

  Args:
    network: the trained network.
    variables: its variables.
    windows: which it was not trained on; of many it is some, evenly spaced.

  Returns:
    (n, horizon, channels) absolute errors, rising along the first axis.
  """
  targets = windows.targets
  most = min(_WINDOWS, max(_NUMBERS // targets[0].size, 1))
  count = min(len(targets), most)
  places = np.linspace(0, len(targets) - 1, count).astype(int)
  parts = []
  for start in range(0, count, _BATCH):
    # The last batch is filled up, so that one program serves all.
    rows = places[np.minimum(np.arange(start, start + _BATCH), count - 1)]
    forecast = np.asarray(_forecast(network, variables, windows.inputs[rows]))
    parts.append(np.abs(forecast - targets[rows])[: count - start])
  return np.sort(np.concatenate(parts), axis=0)


def with_intervals(variables: Any, errors: np.ndarray) -> Any:
  """Returns variables with the half widths of intervals.

  Args:
    variables: of a network.
    errors: see `errors`.

  Returns:
    The variables with one more collection, `conformal.COLLECTION`, of half
    widths (horizon, channels) by level; as they came where the errors are too
    few.
  """
  widths = conformal.half_widths(errors)
  return {**variables, conformal.COLLECTION: widths} if widths else variables


def calibrate(
  network: forecasting.Forecaster, variables: Any, splits: data.Splits
) -> Any:
  """Returns variables with intervals that the validation part says.

  It has also chosen the seed and, with early stopping, the moment: intervals
  are a little small. As they come where there is no validation part.
  """
  if splits.valid is None or network.quantile not in (None, 0.5):
    # Around another quantile than the middle an interval is not as wide below
    # as above.
    return variables
  return with_intervals(variables, errors(network, variables, splits.valid))


@functools.partial(jax.jit, static_argnums=0)
def _forecast(network, variables, inputs):
  return network.apply(variables, inputs)


def predict(model: "Model", examples: data.Examples) -> predictions.Predictions:
  """Returns a row for each time of each forecast.

  Returns:
    The columns "id", "step" (from 1), "time" where the series has time stamps,
    and one of each channel, in its own units; with intervals "NAME_lower_80%",
    "NAME_upper_80%" and likewise for 95 %; and where the examples have it
    "NAME_target".
  """
  outputs = model.outputs(examples.dataset)
  prepared = model.preparation
  count, horizon, channels = outputs["forecast"].shape
  names = prepared.channels or tuple(f"channel_{i}" for i in range(channels))
  columns: dict[str, Any] = {
    "id": np.repeat(np.array(examples.ids), horizon),
    "step": np.tile(np.arange(1, horizon + 1), count),
  }
  if examples.times is not None:
    columns["time"] = np.asarray(examples.times).reshape(-1)

  def add(values, ending):
    """Adds a column of each channel, in its own units."""
    values = prepared.restore(np.asarray(values)).reshape(-1, channels)
    columns.update({f"{x}{ending}": y for x, y in zip(names, values.T)})

  add(outputs["forecast"], "")
  for level in sorted(model.variables.get(conformal.COLLECTION, ())):
    for end in ("lower", "upper"):
      add(outputs[f"{end}_{level}"], f"_{end}_{level}%")
  if examples.labeled:
    add(examples.dataset.targets, "_target")
  return predictions.Predictions(columns, outputs)
