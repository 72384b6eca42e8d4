"""Baselines without training for the destinations of events.

    stream = graph_baselines.stream(splits, "test", batch_size=200)
    scores = graph_baselines.edge_bank(stream)

All of them know the events before a batch, but not the batch, like networks
whose messages wait. Scores are (events, candidates), with the true destination
in the first column.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.tasks import ranking
from jaxseq.tasks.recommendation import baselines as item_baselines
from jaxseq.tasks.temporal_graph import graph_options

# Maximum number of count queries at once.
_ROWS = 2**14


class Stream(NamedTuple):
  """Events, the last of which are evaluated.

  Attributes:
    source: (events,) int64.
    destination: (events,) int64.
    time: (events,) float64, non-decreasing.
    first: index of the first evaluated event.
    known: (n,) int64, number of events before each evaluated event's batch.
    candidates: (n, k) int64, its destination and others.
  """

  source: np.ndarray
  destination: np.ndarray
  time: np.ndarray
  first: int
  known: np.ndarray
  candidates: np.ndarray

  @property
  def asked(self) -> np.ndarray:
    """Sources (n,) of the evaluated events."""
    return self.source[self.first :]


def stream(splits: data.Splits, part: str, batch_size: int) -> Stream:
  """Returns the events up to the end of a part, which is evaluated.

  Args:
    splits: data as from `data.event_graphs.make_splits`.
    part: "valid" or "test".
    batch_size: number of events that are predicted from the same past.
  """
  sets = [splits.train, splits.valid, splits.test]
  if part == "valid":
    sets = sets[:2]
  sets = [one for one in sets if one is not None]
  nodes, time, _ = graph_options.joined(sets)
  nodes = nodes.astype(np.int64)
  own, others = nodes[-len(sets[-1].inputs) :, 1:], sets[-1].targets
  first = len(nodes) - len(own)
  known = first + np.arange(len(own)) // batch_size * batch_size
  candidates = np.concatenate([own, others], axis=1).astype(np.int64)
  return Stream(*nodes.T, time, first, known, candidates)


class _Counts:
  """Counts of keys (events,) among the events before any of them."""

  def __init__(self, keys: np.ndarray):
    self.names, number = np.unique(keys, return_inverse=True)
    self.size = len(keys)
    order = np.argsort(number, kind="stable")
    self.order, self.places = order, number[order] * self.size + order

  def ends(self, keys, before) -> tuple[np.ndarray, np.ndarray]:
    """Returns start and end of the events of keys before given events."""
    rank = np.searchsorted(self.names, keys)
    inside = rank < len(self.names)
    rank = np.where(inside, rank, 0)
    inside &= self.names[rank] == keys
    begin = np.searchsorted(self.places, rank * self.size)
    end = np.searchsorted(self.places, rank * self.size + before)
    return begin, np.where(inside, end, begin)

  def recent(self, keys, before, count) -> tuple[np.ndarray, np.ndarray]:
    """Returns the last events (n, count) of keys, and their mask."""
    begin, end = self.ends(keys, before)
    place = end[:, None] - 1 - np.arange(count)
    return self.order[np.maximum(place, 0)], place >= begin[:, None]

  def __call__(self, keys, before) -> np.ndarray:
    """Returns how often keys come before given events."""
    begin, end = self.ends(keys, before)
    return end - begin


def edge_bank(events: Stream) -> np.ndarray:
  """Returns 1 if the pair had an earlier event, else 0 (arXiv:2207.10128)."""
  return (_met(events, both=False) > 0).astype(float)


def popular(events: Stream) -> np.ndarray:
  """Returns the counts of destinations before the evaluated part."""
  fit = np.bincount(
    events.destination[: events.first], minlength=events.candidates.max() + 1
  )
  return fit[events.candidates].astype(float)


def streaming_popular(events: Stream) -> np.ndarray:
  """Returns the counts of destinations before the batch."""
  counts = _Counts(events.destination)
  return counts(events.candidates, events.known[:, None]).astype(float)


def pop_track(events: Stream, decay: float = 0.9) -> np.ndarray:
  """Returns popularity that decays with every batch (PopTrack).

  All events before the first batch count as one batch.

  Source: Daniluk & Dąbrowski, arXiv:2307.12510. As the decay is per batch, it
  depends on the batch size; .9 was chosen for 200.

  Args:
    events: the events.
    decay: factor of each batch.
  """
  validate.number("decay", decay, 0, 1)
  size = max(events.candidates.max(), events.destination.max()) + 1
  score, seen = np.zeros(size), 0
  scores = np.empty(events.candidates.shape)
  for begin, end in _batches(events):
    known = int(events.known[begin])
    score += np.bincount(events.destination[seen:known], minlength=size)
    score *= decay
    seen = known
    scores[begin:end] = score[events.candidates[begin:end]]
  return scores


def t_comem(
  events: Stream, recent: int = 10, weight: float = 0.8
) -> np.ndarray:
  """Returns t-CoMem: counts of a pair, and the source's recent destinations.

  base + weight c / (1 + c), where c is the pair's number of events; the base,
  which all candidates of an event share, is the sum over the source's recent
  events of exp(-age / window) sigmoid(count of the destination), where window
  is the time span before the evaluated part. The code of tgm loses the second
  term if nodes are integers.

  Source: "Base3", arXiv:2506.12764, and tgm-team/tgm.

  Args:
    events: the events.
    recent: number of recent events of a source.
    weight: weight of the pair's count.
  """
  window = events.time[events.first - 1] - events.time[0]
  sources, popularity = _Counts(events.source), _Counts(events.destination)
  event, there = sources.recent(events.asked, events.known, recent)
  age = events.time[events.known - 1][:, None] - events.time[event]
  there &= age <= window
  count = popularity(events.destination[event], events.known[:, None])
  value = np.exp(-age / max(window, 1e-12)) / (1 + np.exp(-1.0 * count))
  base = np.where(there, value, 0).sum(axis=1, keepdims=True)
  met = _met(events, both=True)
  return base + weight * met / (1 + met)


def together(events: Stream, recent: int = 10) -> np.ndarray:
  """Returns co-occurrence counts of candidates and recent destinations.

  Two destinations co-occur each time that a source has an event with one while
  the other is among its recent ones; ties go by popularity.

  Args:
    events: the events.
    recent: number of a source's recent destinations.
  """
  ends = np.append(events.destination, events.candidates)
  low, size = ends.min(), np.ptp(ends) + 1
  pairs = np.zeros((size, size), np.float32)
  sources, seen = _Counts(events.source), 0
  target = events.destination - low
  number = np.arange(len(target))
  scores = np.empty(events.candidates.shape)
  for begin, end in _batches(events):
    known = int(events.known[begin])
    for some in range(seen, known, _ROWS):
      span = number[some : min(some + _ROWS, known)]
      event, there = sources.recent(events.source[span], span, recent)
      one = np.broadcast_to(target[span, None], event.shape)[there]
      other = target[event[there]]
      np.add.at(pairs, (other, one), 1)
      np.add.at(pairs, (one, other), 1)
    seen = known
    event, there = sources.recent(events.asked[begin:end], known, recent)
    wanted = events.candidates[begin:end] - low
    values = pairs[target[event][:, :, None], wanted[:, None]]
    scores[begin:end] = (values * there[..., None]).sum(axis=1)
  popularity = streaming_popular(events)
  return scores + popularity / (2 * popularity.max() + 1)


def _met(events, both):
  """Numbers of earlier events of source and candidate, (n, k)."""
  size = int(max(events.source.max(), events.candidates.max())) + 1
  counts = _Counts(events.source * size + events.destination)
  own = np.broadcast_to(events.asked[:, None], events.candidates.shape)
  before = events.known[:, None]
  met = counts(own * size + events.candidates, before)
  if both:
    met = met + counts(events.candidates * size + own, before)
  return met


def _batches(events):
  """The first and the last event of each evaluated batch."""
  begins = np.flatnonzero(np.diff(events.known, prepend=-1))
  return zip(begins, [*begins[1:], len(events.known)])


def metrics(scores: np.ndarray) -> dict[str, float]:
  """Returns "mrr" and "hit_rate_10"; the first column is the target."""
  values = np.asarray(scores, np.float32)
  place = ranking.ranks(jnp.asarray(values), jnp.zeros(len(values), jnp.int32))
  return {
    "mrr": float(ranking.reciprocal_rank(place).mean()),
    "hit_rate_10": float(ranking.hit_rate(place, 10).mean()),
  }


def floors(
  splits: data.Splits, part: str, batch_size: int
) -> dict[str, dict[str, float]]:
  """Returns the metrics of all baselines, by label.

  Args:
    splits: see `stream`.
    part: see `stream`.
    batch_size: see `stream`.
  """
  events = stream(splits, part, batch_size)
  rows = {
    "EdgeBank": edge_bank(events),
    "most popular": popular(events),
    "most popular, streaming": streaming_popular(events),
    "PopTrack": pop_track(events),
    "t-CoMem": t_comem(events),
  }
  if np.ptp(events.destination) < item_baselines.DENSE:
    rows["co-occurrence"] = together(events)
  return {label: metrics(scores) for label, scores in rows.items()}
