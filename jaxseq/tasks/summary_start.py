"""Variables of a classifier that begins where a linear model of summaries ends.

The linear map of `nn.series_summaries` begins as the row "linear on summaries"
of the table, and what the network adds as 0. Few series tell little more than
that row, and a network that begins anywhere else learns them by heart before it
has found as much. Of numbers to predict this is not so: there the map begins as
0, as networks that began as the row stayed near it.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq.tasks import base
from jaxseq.tasks import summary_baselines

# Of a problem's data.
NAME = "start"


def of_classes(splits: data.Splits) -> dict[str, np.ndarray]:
  """Returns the map to logits: "kernel" (features, classes) and "bias".

  It is `summary_baselines.class_logits`.

  Raises:
    ValueError: the data are not series of numbers, with a class each.
  """
  train = splits.train
  if not summary_baselines.fits(train, 1):
    expected = "False, as the data are not series of numbers, or too wide"
    raise _validate.error("network.summaries", True, expected)
  fitted = summary_baselines.class_logits(train, splits.info.num_classes)
  return {
    "kernel": np.float32(fitted.weights),
    "bias": np.float32(fitted.bias),
  }


def begun(variables: Mapping[str, Any], start: Any) -> Any:
  """Returns variables that predict as the linear model, if there is one.

  Args:
    variables: of the network, as drawn.
    start: as from `of_classes`; None leaves them as they are.
  """
  if start is None:
    return variables
  params = dict(variables["params"])
  linear = {name: jnp.asarray(start[name]) for name in ("kernel", "bias")}
  params["summaries"] = {"linear": linear}
  head = dict(params["head"])
  head["mlp"] = base.last_changed(head["mlp"], base.zeros)
  return {**variables, "params": {**params, "head": head}}
