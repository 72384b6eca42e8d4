"""Baselines for futures of events that need little or no training.

`most_popular` repeats the most frequent mark; `history_density` and
`train_rate` assume a constant rate per mark, from the history or from training;
`expected_counts` is the expectation under the Hawkes process that generated the
events, the best calibrated prediction.
"""

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from jaxseq import validate
from jaxseq.data import point_processes
from jaxseq.nn import masks
from jaxseq.tasks.events import hawkes_fit
from jaxseq.tasks.events import metrics as event_metrics


def most_popular(
  events: point_processes.Events,
  places: event_metrics.Places,
  num_marks: int,
  count: int = 32,
  *,
  median: bool = False,
  distribution: bool = False,
) -> tuple[event_metrics.Futures, event_metrics.Predicted]:
  """Predicts the most frequent mark repeatedly, at the mean gap.

  Args:
    events: sequences.
    places: n of their events.
    num_marks: number of marks.
    count: number of predicted events.
    median: whether the gap is the lower median of all gaps so far and a zero,
      instead of their mean.
    distribution: whether marks are predicted in proportion to their
      frequencies, the one with the largest deficit first.

  Returns:
    The events (n, count), and the same with scores: 1 for the mark, else 0.
  """
  seen = _seen(events, places, num_marks).astype(float)
  index = np.arange(count)
  marks = np.repeat(seen.argmax(1)[:, None], count, axis=1)
  if distribution:
    share = seen / seen.sum(1, keepdims=True)
    given = np.zeros_like(seen)
    for number in index:
      marks[:, number] = (share * count - given).argmax(1)
      given[np.arange(len(seen)), marks[:, number]] += 1
  first = np.asarray(events.times, np.float64)[places.row, 0]
  gap = (places.time - first) / np.maximum(places.event, 1)
  if median:
    gaps = np.diff(events.times, axis=1, prepend=events.times[:, :1])
    until = zip(places.row, places.event)
    gap = np.array([np.sort(gaps[i, : k + 1])[k // 2] for i, k in until])
  times = places.time[:, None] + gap[:, None] * (1 + index)
  inside = np.ones(times.shape, bool)
  scores = np.eye(num_marks)[marks]
  return (
    event_metrics.Futures(times, marks, inside),
    event_metrics.Predicted(times, scores, inside),
  )


def history_density(
  events: point_processes.Events,
  places: event_metrics.Places,
  edges: Sequence[float],
  num_marks: int,
) -> np.ndarray:
  """Returns probabilities (n, intervals, marks) of an event in an interval.

  The rate of each mark is that of the events so far, over the time since the
  first event; after the first event, since the beginning of observation. As
  published, the events at both ends of this time count.

  Args:
    events: sequences.
    places: n of their events.
    edges: see `event_metrics.table`.
    num_marks: number of marks.
  """
  first = np.asarray(events.times, np.float64)[places.row, 0]
  span = places.time - np.where(places.event > 0, first, 0.0)
  rate = _seen(events, places, num_marks) / span[:, None]
  return np.minimum(np.diff(edges, prepend=0.0)[:, None] * rate[:, None], 1)


def train_rate(
  train: point_processes.Events,
  places: event_metrics.Places,
  edges: Sequence[float],
  num_marks: int,
) -> np.ndarray:
  """Returns counts (n, intervals, marks) at the mean training rate."""
  inside = masks.inside(train.marks.shape[1], train.lengths)
  marks = np.bincount(train.marks[inside], minlength=num_marks)
  rate = marks / (len(train.lengths) * train.horizon)
  counts = np.diff(edges, prepend=0.0)[:, None] * rate
  return np.broadcast_to(counts, (len(places.time), *counts.shape))


def expected_counts(
  process: point_processes.Hawkes | hawkes_fit.Parameters,
  events: point_processes.Events,
  places: event_metrics.Places,
  edges: Sequence[float],
) -> np.ndarray:
  """Returns expected counts (n, intervals, marks) of a Hawkes process.

  The expected excitation e follows e' = b (a - 1) e + b a mu, and the counts
  N' = mu + e: one matrix exponential for each edge.

  Args:
    process: that made the events, or the parameters that were fitted to them,
      of any spectral radius.
    events: sequences.
    places: n of their events.
    edges: see `event_metrics.table`.

  Raises:
    ValueError: if the counts up to an edge are above the greatest number.
  """
  mu, a = np.array(process.mu), np.array(process.a)
  size = len(mu)
  excitation = point_processes.excitation(a, process.b, events)
  excitation = excitation[places.row, places.event]
  flow = np.zeros((2 * size + 1, 2 * size + 1))
  flow[:size, :size] = process.b * (a - np.eye(size))
  flow[:size, -1] = process.b * a @ mu
  flow[size:-1, :size] = np.eye(size)
  flow[size:-1, -1] = mu
  state = np.concatenate(
    [excitation, np.zeros_like(excitation), np.ones((len(excitation), 1))], 1
  )
  with np.errstate(over="ignore", invalid="ignore"):
    until = [(state @ linalg.expm(flow * edge).T)[:, size:-1] for edge in edges]
  for edge, counts in zip(edges, until):
    if not np.isfinite(counts).all():
      expected = "an earlier one: up to it the counts are above 1e308"
      raise validate.error("edges", edge, expected)
  return np.diff(np.stack(until, 1), axis=1, prepend=0.0)


def _seen(events, places, num_marks):
  """Numbers of events (n, marks) of each mark up to `places`."""
  marks = np.eye(num_marks, dtype=np.int64)[events.marks]
  return marks.cumsum(axis=1)[places.row, places.event]
