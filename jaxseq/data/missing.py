"""Missing values of series: refused, masked or filled, as declared.

A missing value is NaN. Its replacement is declared by the option `missing` of
loaders:

  refuse        the default: the set is not loaded
  mask          the training mean, and as many channels again that are 1 where
                a value is present and 0 where it is missing or in padding
  forward_fill  the last value before it in the same series and channel; if
                there is none, the training mean
  mean          the training mean of the channel
"""

from collections.abc import Sequence
import dataclasses
from typing import Literal
from typing import get_args

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import value_checks

Missing = Literal["refuse", "mask", "forward_fill", "mean"]

_AXES = ("example", "element", "channel")
CHOICES = get_args(Missing)
# Choices for forecasts, whose targets have no masks.
OF_FORECASTS = ("refuse", "forward_fill", "mean")


def expected(choices: Sequence[str] = CHOICES, trained: bool = False) -> str:
  """Describes for messages how to handle a missing value.

  Args:
    choices: allowed values of the option.
    trained: whether a model is already trained, so that the option is too late.
  """
  others = " or ".join(repr(word) for word in choices if word != "refuse")
  if trained:
    return (
      "numbers, as in its training; a model that takes missing values is one "
      f"that was trained with the option missing = {others}"
    )
  return f"numbers, or the option missing = {others}"


def treat(
  splits: datasets.Splits,
  missing: Missing = "refuse",
  names: Sequence[str] = ("train", "valid", "test"),
) -> datasets.Splits:
  """Handles the missing values of a set of series as declared.

  Args:
    splits: the set: inputs (n, time, channels), NaN where a value is missing.
    missing: how to handle them, see above.
    names: names of the parts in messages.

  Returns:
    The set: inputs (n, time, channels) without NaN, or (n, time, 2 channels) if
    missing is "mask"; extras.observed marks the present values. Padding is 0.
    With "refuse" the set is returned unchanged.

  Raises:
    ValueError: if values are missing and `missing` is "refuse", naming the
      first place; or if a channel of the training part has no value.
  """
  validate.choice("missing", missing, get_args(Missing))
  parts = list(splits[:3])
  if splits.train.inputs.dtype.kind != "f":
    if missing != "refuse":
      raise validate.error("missing", missing, "'refuse' for tokens")
    return splits
  if missing == "refuse":
    for name, part in zip(names, parts):
      if part is not None:
        _refuse(f"{name}: inputs", part.inputs, splits.info.channels)
    return splits
  mean = training_mean(splits.train, names[0])
  filled = [part and fill(part, missing, mean) for part in parts]
  info = splits.info
  if missing == "mask" and info.channels is not None:
    marks = tuple(f"{channel} observed" for channel in info.channels)
    info = dataclasses.replace(info, channels=(*info.channels, *marks))
  return datasets.Splits(*filled, info)


def fill_forward(
  values: np.ndarray, known: np.ndarray, start: np.ndarray
) -> np.ndarray:
  """Replaces missing values by the last value before them, per channel.

  Args:
    values: (*batch, time, channels).
    known: bool of the same shape, False where a value is missing.
    start: (channels,), the value if there is none before.

  Returns:
    The filled values.
  """
  place = np.where(known, np.arange(values.shape[-2])[:, None], -1)
  place = np.maximum.accumulate(place, axis=-2)
  last = np.take_along_axis(values, np.maximum(place, 0), axis=-2)
  return np.where(place < 0, start, last)


def _refuse(name, inputs, channels, trained=False, choices=CHOICES):
  """Rejects NaN; infinities are not missing, and are rejected elsewhere."""
  fits = channels is not None and len(channels) == inputs.shape[-1]
  value_checks.refuse(
    name,
    inputs,
    np.isnan,
    _AXES,
    channels if fits else None,
    expected(choices, trained),
  )


def _observed(part):
  """The masks of present values and of elements before the padding."""
  inside = datasets.inside(part)
  return ~np.isnan(part.inputs) & inside[..., None], inside


def training_mean(
  train: datasets.ArrayDataset, name: str = "train"
) -> np.ndarray:
  """Returns the mean of each channel over the present values.

  Args:
    train: inputs (n, time, channels), NaN where a value is missing.
    name: name of the inputs in messages.

  Returns:
    Means (channels,) float32.

  Raises:
    ValueError: if a channel has no value.
  """
  observed, _ = _observed(train)
  counts = observed.sum(axis=(0, 1))
  if not counts.all():
    channel = int(np.argmin(counts))
    raise ValueError(
      f"{name}: inputs: got no value in channel {channel}, expected some to "
      "take the mean of."
    )
  values = np.where(observed, train.inputs, 0).sum(axis=(0, 1), dtype=float)
  return (values / counts).astype(np.float32)


def fill(
  part: datasets.ArrayDataset,
  missing: Missing,
  mean: Sequence[float] | np.ndarray | None,
  name: str = "inputs",
  channels: Sequence[str] | None = None,
  choices: Sequence[str] = CHOICES,
) -> datasets.ArrayDataset:
  """Handles missing values of data to predict as in training.

  Args:
    part: inputs (n, time, channels), NaN where a value is missing.
    missing: how to handle them, see above.
    mean: (channels,), mean of the training part, see `training_mean`.
    name: name of the inputs in messages.
    channels: names of the channels, if they have any.
    choices: values that the option could have had in training, for messages.

  Returns:
    The part without NaN, as `treat` returns it.

  Raises:
    ValueError: if values are missing and `missing` is "refuse", or no mean is
      given.
  """
  if missing == "refuse":
    _refuse(name, part.inputs, channels, True, choices)
    return part
  if mean is None:
    raise validate.error("mean", mean, f"one, for missing = {missing!r}")
  mean = np.asarray(mean, np.float32)
  observed, inside = _observed(part)
  if missing == "forward_fill":
    inputs = fill_forward(part.inputs, observed, mean)
  else:
    inputs = np.where(observed, part.inputs, mean)
  inputs = np.where(inside[..., None], inputs, 0)
  if missing == "mask":
    inputs = np.concatenate([inputs, observed], axis=-1)
  extras = part.extras._replace(observed=observed)
  return part._replace(inputs=inputs.astype(part.inputs.dtype), extras=extras)
