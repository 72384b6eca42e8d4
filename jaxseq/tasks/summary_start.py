"""Variables of a network that begins where a linear model of summaries ends.

The linear map of `nn.summaries` begins as the row "linear on summaries" of the
table, and what the network adds as 0. Few series tell little more than that
row, and a network that begins anywhere else learns them by heart before it has
found as much.
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
  train = _checked(splits.train, 1)
  fitted = summary_baselines.class_logits(train, splits.info.num_classes)
  return _single(kernel=fitted.weights, bias=fitted.bias)


def of_numbers(splits: data.Splits, floor: float) -> dict[str, np.ndarray]:
  """Returns the map to means, and what makes the "variance" of each number.

  The variance is the mean squared error of examples left out, at least `floor`.

  Raises:
    ValueError: the data are not series of numbers, with numbers each.
  """
  train = _checked(splits.train, 2)
  fitted = summary_baselines.ridge(
    summary_baselines.summaries(train), train.targets
  )
  error = ((train.targets - fitted.left_out) ** 2).mean(axis=0)
  # The head has elu(v) + 1.
  error = np.maximum(error, floor)
  variance = np.where(error < 1, np.log(error), error - 1)
  return _single(kernel=fitted.weights, bias=fitted.bias, variance=variance)


def begun(variables: Mapping[str, Any], start: Any) -> Any:
  """Returns variables that predict as the linear model, if there is one.

  Args:
    variables: of the network, as drawn.
    start: as from `of_classes` or `of_numbers`; None leaves them as they are.
  """
  if start is None:
    return variables
  params = dict(variables["params"])
  linear = {name: jnp.asarray(start[name]) for name in ("kernel", "bias")}
  params["summaries"] = {"linear": linear}
  head = dict(params["head"])
  head["mlp"] = base.last_changed(head["mlp"], base.zeros)
  if "variance" in start:
    head["variance"] = base.last_changed(
      head["variance"],
      lambda layer: {
        **base.zeros(layer),
        "bias": jnp.asarray(start["variance"]),
      },
    )
  return {**variables, "params": {**params, "head": head}}


def _checked(part, axes):
  """The training part, if it is one of series."""
  if not summary_baselines.fits(part, axes):
    expected = "False, as the data are not series of numbers, or too wide"
    raise _validate.error("network.summaries", True, expected)
  return part


def _single(**arrays):
  return {name: np.float32(array) for name, array in arrays.items()}
