"""Initial variables of a classifier that equals a linear model of summaries.

The linear map of `nn.series_summaries` is initialized as the row "linear on
summaries" of the table, and the network's contribution as 0. On few series
little beats that row, and a network with another initialization overfits before
it gets there. This does not hold for regression: its map starts at 0, as
networks that started as the row stayed near it.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks import summary_baselines

# Key of the map in a problem's data.
NAME = "start"


def of_classes(splits: data.Splits) -> dict[str, np.ndarray]:
  """Returns the map to logits: "kernel" (features, classes) and "bias".

  It is `summary_baselines.class_logits`.

  Raises:
    ValueError: if the data are not series of numbers with a class each.
  """
  train = splits.train
  if not summary_baselines.fits(train, 1):
    expected = "False, as the data are not series of numbers, or too wide"
    raise validate.error("network.summaries", True, expected)
  fitted = summary_baselines.class_logits(train, splits.info.num_classes)
  return {
    "kernel": np.float32(fitted.weights),
    "bias": np.float32(fitted.bias),
  }


def begun(variables: Mapping[str, Any], start: Any) -> Any:
  """Returns variables that predict like the linear model, if there is one.

  Args:
    variables: random variables of the network.
    start: map from `of_classes`; None leaves the variables unchanged.
  """
  if start is None:
    return variables
  params = dict(variables["params"])
  linear = {name: jnp.asarray(start[name]) for name in ("kernel", "bias")}
  params["summaries"] = {"linear": linear}
  head = dict(params["head"])
  head["mlp"] = base.last_changed(head["mlp"], base.zeros)
  return {**variables, "params": {**params, "head": head}}
