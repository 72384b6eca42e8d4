"""Event sequences of a data set, their statistics, and network features."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.nn import masks

Array = jax.Array

# Deviation of the logarithms of gaps below which gaps count as equal.
_REGULAR = 1e-4


class Sequences(NamedTuple):
  """Event sequences, padded at the end.

  Attributes:
    gaps: (n, events) float32, the time since the previous event, or since 0.
    times: (n, events) float32.
    marks: (n, events) int32.
    lengths: (n,) int32.
    true_events: (n, events) float32, the log density of each event under the
      process that generated it; None if unknown.
    true_tail: (n,) float32, its log probability of no event between the last
      one and the horizon; None if unknown.
    until: (n,) float32, end of observation of each; the horizon if None.
  """

  gaps: Array
  times: Array
  marks: Array
  lengths: Array
  true_events: Array | None = None
  true_tail: Array | None = None
  until: Array | None = None


@dataclasses.dataclass(frozen=True)
class Statistics:
  """The statistics of the training data, which scale the network's values.

  Attributes:
    num_marks: number of marks.
    horizon: end of observation of sequences.
    log_mean: mean of the logarithms of the training gaps.
    log_deviation: their standard deviation.
    columns: number of words of each column, if marks are combinations of words;
      else empty. "density" has a head for each column.
  """

  num_marks: int
  horizon: float
  log_mean: float
  log_deviation: float
  columns: tuple[int, ...] = ()

  def words(self) -> np.ndarray:
    """Returns the words of each mark, (words of all columns, marks)."""
    if not self.columns:
      return np.eye(self.num_marks, dtype=np.float32)
    each = np.unravel_index(np.arange(self.num_marks), self.columns)
    rows = [np.eye(n)[:, i] for n, i in zip(self.columns, each)]
    return np.concatenate(rows).astype(np.float32)

  def scaled_log(self, gap: Array) -> Array:
    """Returns standardized logarithms of gaps (...)."""
    return (jnp.log(gap) - self.log_mean) / self.log_deviation


def sequences(part: data.ArrayDataset) -> Sequences:
  """Converts a part of a data set to event sequences.

  Args:
    part: inputs (n, events, 1), the gaps; targets (n, events), the marks;
      extras.times, and perhaps extras.log_density, extras.tail and
      extras.until; see `data.point_processes.load`.

  Raises:
    ValueError: if the part does not contain event sequences.
  """
  extras = part.extras
  if part.inputs.shape[2:] != (1,):
    expected = "the gaps of event sequences, (n, events, 1)"
    raise validate.error("inputs", f"shape {part.inputs.shape}", expected)
  if extras.times is None:
    expected = "when each event happens, (n, events)"
    raise validate.error("extras.times", None, expected)
  lengths = part.lengths
  if lengths is None:
    lengths = np.full(len(part.inputs), part.inputs.shape[1], np.int32)
  return Sequences(
    part.inputs[..., 0],
    extras.times,
    part.targets,
    lengths,
    extras.log_density,
    extras.tail,
    extras.until,
  )


def parts(splits: data.Splits) -> dict[str, Sequences]:
  """Returns the present parts by name, in order of time."""
  named = zip(("train", "valid", "test"), splits[:3])
  return {
    name: jax.tree.map(np.asarray, sequences(part))
    for name, part in named
    if part is not None
  }


def statistics(splits: data.Splits) -> Statistics:
  """Returns the statistics of the training sequences for the network.

  An event at 0 begins the observation, and has no gap.

  Raises:
    ValueError: if there are fewer than two gaps, or no horizon.
  """
  train = sequences(splits.train)
  if splits.info.horizon is None:
    expected = "until when sequences were observed"
    raise validate.error("info.horizon", None, expected)
  inside = masks.inside(train.gaps.shape[1], train.lengths)
  gaps = np.asarray(train.gaps, np.float64)[inside]
  logs = np.log(gaps[gaps > 0])
  if logs.size < 2 or not np.isfinite(logs).all():
    raise ValueError(
      f"train: got {logs.size} events, expected at least 2, with gaps above 0. "
      "Add some."
    )
  deviation = float(logs.std())
  # Regular gaps differ only by the rounding of their times.
  deviation = deviation if deviation > _REGULAR else 1.0
  return Statistics(
    splits.info.num_classes or 1,
    float(splits.info.horizon),
    float(logs.mean()),
    deviation,
    tuple(getattr(splits.info.preparation, "sizes", None) or ()),
  )


def features(events: Sequences, known: Statistics, frequencies: int) -> Array:
  """Returns the features of each event, (*batch, events + 1, features).

  Args:
    events: (*batch, events) arrays.
    known: statistics of the training data.
    frequencies: number of sine and cosine pairs of the time.

  Returns:
    The first row stands for the beginning, and is marked by its last number.
  """
  gaps = jnp.where(events.gaps > 0, events.gaps, 1.0)
  time = events.times / known.horizon
  # Streams longer than in training, such as those that were cut into windows,
  # are read as one window after the other.
  time = time - jnp.maximum(jnp.ceil(time) - 1, 0)
  periods = 2.0 ** jnp.arange(frequencies)
  angles = math.pi * time[..., None] * periods
  marks = jax.nn.one_hot(events.marks, known.num_marks)
  if known.columns:
    # One-hot for each column.
    marks = marks @ known.words().T
  gaps, time = known.scaled_log(gaps)[..., None], time[..., None]
  waves = jnp.sin(angles), jnp.cos(angles)
  numbers = jnp.concatenate([marks, gaps, time, *waves], axis=-1)
  rows = [(0, 0)] * (numbers.ndim - 2)
  numbers = jnp.pad(numbers, [*rows, (1, 0), (0, 1)])
  return numbers.at[..., 0, -1].set(1.0)
