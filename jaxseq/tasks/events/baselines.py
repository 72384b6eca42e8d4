"""Baselines of events without a network: constant rate, counts, Hawkes.

A network trained on users' own events has to beat these rows, which are fitted
to the training part only.
"""

import math
from typing import Any

from absl import logging
import jax
import numpy as np

from jaxseq import data
from jaxseq.data import point_processes
from jaxseq.nn import masks
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import hawkes_fit

# Limits above which a Hawkes process takes minutes: events times marks, and
# marks.
_MOST = 100_000
_MOST_MARKS = 12


def baselines(
  splits: data.Splits, part: str, *, hawkes: bool = True
) -> dict[str, dict[str, float]]:
  """Scores baselines without a network on the sequences of a part.

  Args:
    splits: event sequences of an unknown process.
    part: "test" or "valid"; no scores if it is missing.
    hawkes: whether to fit a Hawkes process, if that does not take too long.

  Returns:
    "nll" and the scores of times, see `events.Problem.measure`, of a "Poisson"
    process, in which each mark has a constant rate; "accuracy" of the "most
    frequent" mark; and "nll" and "accuracy" of a "Hawkes" process with
    exponential decay.
  """
  dataset = getattr(splits, part)
  if dataset is None:
    return {}
  train, tested = map(_arrays, (splits.train, dataset))
  horizon, marks = float(splits.info.horizon), splits.info.num_classes or 1
  share = _shares(train, marks)
  rate = train.count / _observed(train, horizon)
  rows = {"Poisson": _poisson(tested, horizon, rate, share)}
  if marks > 1:
    right = tested.marks[tested.inside] == share.argmax()
    rows["most frequent"] = {"accuracy": float(right.mean())}
  if hawkes:
    rows |= _hawkes(train, tested, horizon, share)
  return rows


class _Arrays:
  """Sequences in float64, with the mask of their events."""

  def __init__(self, part: event_sequences.Sequences):
    self.gaps = np.asarray(part.gaps, np.float64)
    self.marks = np.asarray(part.marks)
    self.lengths = np.asarray(part.lengths)
    self.inside = masks.inside(self.gaps.shape[1], self.lengths)
    self.count = int(self.inside.sum())
    # Times are cumulative sums of gaps, which have more exact digits.
    self.times = np.cumsum(np.where(self.inside, self.gaps, 0), axis=1)
    self.until = part.until


def _arrays(part: data.ArrayDataset) -> _Arrays:
  return _Arrays(event_sequences.sequences(part))


def _ends(arrays, horizon):
  """The end of each sequence's observation, at least its last event."""
  until = arrays.until
  until = np.full(len(arrays.lengths), horizon) if until is None else until
  return np.maximum(until, arrays.times.max(axis=1, initial=0))


def _observed(arrays, horizon):
  """The total time of observation of all sequences."""
  return float(_ends(arrays, horizon).sum())


def _shares(arrays, marks):
  """The share of each mark; a mark without events counts as half an event."""
  counts = np.bincount(arrays.marks[arrays.inside], minlength=marks)
  counts = np.maximum(counts, 0.5)
  return counts / counts.sum()


def _poisson(arrays, horizon, rate, share):
  """Scores of a process with a constant rate, and marks by frequency."""
  timed = arrays.inside & (arrays.gaps > 0)
  gaps, count = arrays.gaps[timed], max(arrays.count, 1)
  nats = np.log(share)[arrays.marks[arrays.inside]].sum()
  nats += timed.sum() * math.log(rate) - rate * _observed(arrays, horizon)
  within = (gaps >= -math.log(0.95) / rate) & (gaps <= -math.log(0.05) / rate)
  return {
    "nll": float(-nats / count),
    "median_error": float(np.abs(gaps - math.log(2) / rate).mean()),
    "coverage": float(within.mean()),
  }


def _hawkes(train, tested, horizon, share):
  """Scores of a Hawkes process, if it can be fitted quickly."""
  marks = len(share)
  trained = np.bincount(train.marks[train.inside], minlength=marks)
  too_large = train.count * marks > _MOST or marks > _MOST_MARKS
  if too_large or not trained.all():
    logging.info(
      "There is no row of a Hawkes process: it takes all of at most %d marks, "
      "and %d events times marks.",
      *(_MOST_MARKS, _MOST),
    )
    return {}
  packed = _packed(train, horizon)
  fitted = hawkes_fit.fit(packed, marks, errors=False).parameters
  packed = _packed(tested, horizon)
  with jax.enable_x64(True):
    nats = float(hawkes_fit.log_likelihood(fitted, packed))
    before, _ = hawkes_fit.states(fitted, packed)
  rates = np.asarray(fitted.mu) + fitted.b * np.asarray(before) @ fitted.a.T
  # The marks of events at time 0 are predicted, too.
  first = packed.begin & (packed.gap <= 0)
  nats += np.log(share)[packed.mark[first]].sum()
  row = {"nll": -nats / max(tested.count, 1)}
  if marks > 1:
    row["accuracy"] = float((rates.argmax(axis=1) == packed.mark).mean())
  return {"Hawkes": row}


def _packed(arrays, horizon) -> Any:
  events = point_processes.Events(
    arrays.times, arrays.marks, arrays.lengths, horizon
  )
  return hawkes_fit.pack(events, _ends(arrays, horizon))
