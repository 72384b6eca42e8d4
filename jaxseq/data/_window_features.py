"""Windows of motion as a few numbers for each channel."""

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets

# The numbers of a channel, in this order; "band_i" is the logarithm of the mean
# power in the i-th of five bands, each twice as wide as the one below.
NAMES = (
  "mean",
  "deviation",
  "minimum",
  "maximum",
  "median",
  "quartiles",
  "change",
  *(f"band_{i}" for i in range(5)),
)
_BANDS = 5
_FLOOR = 1e-6


def describe(windows: np.ndarray) -> np.ndarray:
  """Returns (..., channels * 12) float32, the numbers of `NAMES` by channel."""
  length = windows.shape[-2]
  least = 2 ** (_BANDS + 1) - 2
  if length < least:
    expected = f"at least {least} elements in time"
    raise _validate.error("windows", length, expected)
  x = np.moveaxis(np.asarray(windows, np.float64), -1, -2)
  lower, median, upper = np.quantile(x, (0.25, 0.5, 0.75), axis=-1)
  power = np.abs(np.fft.rfft(x, axis=-1)) ** 2 / length
  # Without the mean, which has a number of its own.
  power = power[..., 1:]
  edges = power.shape[-1] * (2.0 ** np.arange(_BANDS + 1) - 1)
  edges = np.round(edges / (2.0**_BANDS - 1)).astype(int)
  bands = [
    np.log(power[..., a:b].mean(axis=-1) + _FLOOR)
    for a, b in zip(edges[:-1], edges[1:])
  ]
  numbers = [f(x, axis=-1) for f in (np.mean, np.std, np.min, np.max)]
  change = np.abs(np.diff(x, axis=-1)).mean(axis=-1)
  numbers += [median, upper - lower, change, *bands]
  out = np.stack(numbers, axis=-1).astype(np.float32)
  return out.reshape(*out.shape[:-2], -1)


def described(dataset: datasets.ArrayDataset) -> datasets.ArrayDataset:
  """Returns the examples with their statistics as a single element in time."""
  return dataset._replace(inputs=describe(dataset.inputs)[:, None])
