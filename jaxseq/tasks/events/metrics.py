"""Predicted futures of event streams, and their metrics.

    places = event_metrics.places(events, ahead=32, step=4)
    targets = event_metrics.following(events, places, ahead=32)
    counts = future_baselines.train_rate(train, places, edges)
    table = event_metrics.table(places.time, edges, counts)
    event_metrics.t_map(places.time, targets, table, horizon=5, deltas=(1,))

T-mAP scores predicted events like a detector's boxes (Karpukhin et al., HoTPP,
arXiv:2406.14341). It rewards calibrated counts, not likely futures: samples of
the true process score below a table of its expected counts, so models should be
compared by such tables. OTD is the optimal transport distance of two sequences
(Mei et al., ICML 2019).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize

from jaxseq import validate
from jaxseq.data import point_processes

# The score of marks other than a prediction's, and the least of its own.
ABSENT, LEAST = -1000.0, -100.0


class Places(NamedTuple):
  """The events after which the future is predicted.

  Attributes:
    row: (n,) integers, the sequence of each.
    event: (n,) integers, index of the last known event.
    time: (n,) float64, time of this event.
  """

  row: np.ndarray
  event: np.ndarray
  time: np.ndarray


class Futures(NamedTuple):
  """Subsequent events, observed or sampled.

  Attributes:
    times: (..., events) float64, in order of time.
    marks: (..., events) integers.
    inside: (..., events) bool, False in the padding.
  """

  times: np.ndarray
  marks: np.ndarray
  inside: np.ndarray


class Predicted(NamedTuple):
  """Predicted events, each with a score for every mark.

  Attributes:
    times: (n, predictions) float64.
    scores: (n, predictions, marks) float64; only their order counts, over all
      predictions of a mark.
    inside: (n, predictions) bool, False in the padding.
  """

  times: np.ndarray
  scores: np.ndarray
  inside: np.ndarray


class TMap(NamedTuple):
  """The temporal mean average precision.

  Attributes:
    value: the mean over thresholds and marks, including marks without targets.
    precision: (thresholds, marks), average precisions.
    targets: (marks,), numbers of targets.
  """

  value: float
  precision: np.ndarray
  targets: np.ndarray


def places(
  events: point_processes.Events, ahead: int = 32, step: int = 4
) -> Places:
  """Returns every `step`-th event of each sequence with `ahead` after it."""
  validate.all_positive(ahead=ahead, step=step)
  chosen = [np.arange(step, length - ahead, step) for length in events.lengths]
  row = np.repeat(np.arange(len(chosen)), list(map(len, chosen)))
  event = np.concatenate(chosen)
  if not len(row):
    raise ValueError(
      f"ahead: got {ahead}, expected a sequence with more than {step} + {ahead}"
      " events."
    )
  return Places(row, event, np.asarray(events.times, np.float64)[row, event])


def following(
  events: point_processes.Events, places: Places, ahead: int = 32
) -> Futures:
  """Returns the next `ahead` events of each place, (n, ahead)."""
  index = places.event[:, None] + 1 + np.arange(ahead)
  inside = index < np.asarray(events.lengths)[places.row, None]
  at = places.row[:, None], np.minimum(index, events.times.shape[1] - 1)
  times = np.asarray(events.times, np.float64)[at]
  return Futures(times, np.asarray(events.marks)[at], inside)


def counts(
  start: np.ndarray, edges: Sequence[float], futures: Futures, num_marks: int
) -> np.ndarray:
  """Counts the events of each mark, averaged over sampled futures.

  Args:
    start: (n,), time of each prediction.
    edges: ends of intervals after it, increasing; the first begins at 0.
    futures: (n, samples, events) arrays, complete up to the last edge.
    num_marks: number of marks.

  Returns:
    (n, intervals, marks) float64.
  """
  after = futures.times - start[:, None, None]
  interval = np.searchsorted(np.asarray(edges, float), after)
  inside = futures.inside & (after > 0) & (interval < len(edges))
  n, samples, _ = after.shape
  result = np.zeros((n, len(edges) + 1, num_marks))
  row = np.broadcast_to(np.arange(n)[:, None, None], after.shape)
  np.add.at(
    result, (row[inside], interval[inside], futures.marks[inside]), 1 / samples
  )
  return result[:, :-1]


def table(
  start: np.ndarray, edges: Sequence[float], counts: np.ndarray
) -> Predicted:
  """Predicts one event for each interval and mark, in the interval's middle.

  Args:
    start: (n,), time of each prediction.
    edges: (intervals,) ends of intervals after it, increasing.
    counts: (n, intervals, marks), expected numbers of events, or probabilities
      that there is one: scores are their logarithms.
  """
  edges = np.asarray(edges, float)
  middle = (np.concatenate([[0.0], edges[:-1]]) + edges) / 2
  n, intervals, marks = counts.shape
  times = np.repeat(start[:, None] + middle, marks, axis=1)
  score = np.log(np.maximum(counts, np.exp(LEAST)))[..., None]
  scores = np.where(np.eye(marks, dtype=bool), score, ABSENT)
  shape = n, intervals * marks
  return Predicted(times, scores.reshape(*shape, marks), np.ones(shape, bool))


def t_map(
  start: np.ndarray,
  targets: Futures,
  predicted: Predicted,
  *,
  horizon: float,
  deltas: Sequence[float],
) -> TMap:
  """Returns the temporal mean average precision.

  At each place the predictions are matched with the targets of a mark at a
  distance of at most delta, such that the sum of scores is maximal; a
  prediction is used for every mark, with its score for it. The predictions of
  all places are sorted by score, and matched ones are correct. Equal scores
  share a rank, so that neither the order of places nor that of predictions
  counts. A mark whose predictions are all matched counts like any other: the
  released program omits it, which gives a perfect prediction 0.

  Args:
    start: (n,), time of each prediction.
    targets: (n, events) arrays.
    predicted: (n, predictions) arrays.
    horizon: time after `start` from which on events do not count.
    deltas: thresholds, each above 0, to average over.
  """
  validate.above_zero("horizon", horizon)
  until = start[:, None] + horizon
  wanted = targets.inside & (targets.times < until)
  said = predicted.inside & (predicted.times < until)
  num_marks = predicted.scores.shape[-1]
  totals = np.bincount(targets.marks[wanted], minlength=num_marks)
  precision = np.zeros((len(deltas), num_marks))
  for number, delta in enumerate(deltas):
    validate.above_zero("deltas", delta)
    near = np.abs(predicted.times[:, :, None] - targets.times[:, None]) <= delta
    near &= said[:, :, None] & wanted[:, None]
    for mark in np.flatnonzero(totals):
      scores = predicted.scores[..., mark]
      right = _matched(near & (targets.marks == mark)[:, None], scores)
      precision[number, mark] = _average_precision(
        scores[said], right[said], totals[mark]
      )
  return TMap(float(precision.mean()), precision, totals)


def _matched(near, scores):
  """Marks the predictions (n, predictions) that are matched with targets."""
  right = np.zeros(scores.shape, bool)
  # The sets that can be matched are a matroid: only the order of scores counts.
  worth = 1 + np.argsort(np.argsort(scores, axis=1, kind="stable"), axis=1)
  for row in np.flatnonzero(near.any(axis=(1, 2))):
    some = np.flatnonzero(near[row].any(axis=1))
    pairs = near[row][some][:, near[row].any(axis=0)]
    first, second = optimize.linear_sum_assignment(
      pairs * worth[row, some, None], maximize=True
    )
    right[row, some[first]] = pairs[first, second]
  return right


def _average_precision(scores, right, total):
  """The sum of precisions at correct predictions, over the target count."""
  order = np.argsort(-scores, kind="stable")
  scores, hits = scores[order], np.cumsum(right[order])
  last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
  new = np.diff(hits[last], prepend=0)
  return (new * hits[last] / (last + 1)).sum() / total


def otd(
  targets: Futures,
  predicted: Futures,
  *,
  insert: float = 1.0,
  delete: float = 1.0,
) -> np.ndarray:
  """Returns the optimal transport distance (n,) of futures.

  A predicted event is moved to a target of its mark, at the cost of the time
  between them; or it is deleted, and the target inserted.

  Args:
    targets: (n, events) arrays, such as the next ten.
    predicted: (n, predictions) arrays, usually with the same number of events.
    insert: cost of a target without a matched prediction.
    delete: cost of a prediction without a matched target.
  """
  both = insert + delete
  far = np.abs(predicted.times[:, :, None] - targets.times[:, None])
  alike = predicted.marks[:, :, None] == targets.marks[:, None]
  alike &= predicted.inside[:, :, None] & targets.inside[:, None]
  saved = np.where(alike, np.maximum(both - far, 0), 0)
  distance = insert * targets.inside.sum(1) + delete * predicted.inside.sum(1)
  for row, one in enumerate(saved):
    place = optimize.linear_sum_assignment(one, maximize=True)
    distance[row] -= one[place].sum()
  return distance
