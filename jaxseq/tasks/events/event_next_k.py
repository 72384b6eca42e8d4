"""Several next events from one state: the form "next-K".

    problem = event_next_k.Problem(arm, splits, count=8)
    predicted = event_next_k.predict(
      problem.network, variables, events, places.event
    )

After every event the network predicts the gaps and marks of the next K, each as
if the events in between were known: the gap of an event is that to the previous
one, and its loss that of a next event. It is the baseline of HoTPP (Karpukhin
et al., arXiv:2406.14341, `losses/next_k.py`): a single pass for a whole future,
but the further away an event is, the more possible futures are averaged.
`event_futures` samples futures event by event.
"""

import functools

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import nn
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import event_likelihood
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import metrics as event_metrics
from jaxseq.tasks.events import network as event_network

Array = jax.Array


class NextEvents(linen.Module):
  """A sequence network over events, with heads for each of the next ones.

  Attributes:
    config: options of the arm; its head is "density". Marks do not depend on
      gaps.
    statistics: statistics of the data.
    count: number of events that are predicted from a state.
  """

  config: event_arms.ArmConfig
  statistics: event_sequences.Statistics
  count: int

  @linen.compact
  def __call__(
    self, events: event_sequences.Sequences, train: bool = False
  ) -> event_network.Prediction:
    """Predicts before the first event, and after each.

    Args:
      events: (*batch, events) arrays.
      train: whether dropout is on.

    Returns:
      (*batch, events + 1, count, ...); the k-th is of the event k + 1 ahead.
    """
    config, statistics = self.config, self.statistics
    gaps, marks = 3 * config.components, statistics.num_marks
    network = nn.SequenceNetwork(config.network, self.count * (gaps + marks))
    features = event_sequences.features(
      events, statistics, config.time_frequencies
    )
    outputs, _ = network(features, lengths=events.lengths + 1, train=train)
    outputs = outputs.reshape(*outputs.shape[:-1], self.count, gaps + marks)
    return event_network.Prediction(
      event_network.mixture(outputs[..., :gaps], statistics),
      outputs[..., gaps:],
    )


class Problem(base.ArrayProblem):
  """Predicting several events at once, wherever as many follow.

  Args:
    arm: network and batch size, in sequences.
    splits: event sequences, see `events.Problem`.
    count: number of events that are predicted from a state.

  Raises:
    ValueError: if the head is not "density", the network pools, or no sequence
      has so many events.
  """

  validated = objective = "nll"

  def __init__(
    self, arm: event_arms.ArmConfig, splits: data.Splits, count: int
  ):
    validate.integer("count", count, 1)
    if arm.head != "density":
      raise validate.error("head", arm.head, "'density'")
    base.check_pooling(arm.network, False, "every event is predicted")
    parts = event_sequences.parts(splits)
    for name, part in parts.items():
      most = int(np.max(part.lengths))
      validate.integer(f"count, of the part {name!r}", count, 1, most)
    network = NextEvents(arm, event_sequences.statistics(splits), count)
    super().__init__(arm, network, parts, len(parts["train"].gaps))

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network."""
    return self.network.init(key, base.first(self.data["train"]))

  def inputs(
    self, batch: event_sequences.Sequences
  ) -> tuple[event_sequences.Sequences]:
    """Returns the events."""
    return (batch,)

  def score(
    self,
    outputs: event_network.Prediction,
    batch: event_sequences.Sequences,
  ) -> tuple[dict[str, Array], Array]:
    """Returns "nll" (nats per event), and the number of scored events.

    Only states with at least `count` further events are scored. For an event
    right at the beginning, which has no gap, only the mark counts.
    """
    steps = jnp.arange(self.network.count)
    first = jnp.arange(batch.gaps.shape[1] + 1)[:, None]
    index = jnp.minimum(first + steps, batch.gaps.shape[1] - 1)
    gaps, marks = batch.gaps[:, index], batch.marks[:, index]
    each = event_likelihood.of_events(outputs, gaps, marks)
    inside = first[:, 0] + len(steps) <= batch.lengths[:, None]
    count = inside.sum() * len(steps)
    total = jnp.where(inside[..., None], each, 0.0).sum()
    return {"nll": -total / jnp.maximum(count, 1)}, count


def predict(
  network: NextEvents,
  variables: base.PyTree,
  events: event_sequences.Sequences,
  event: np.ndarray,
) -> event_metrics.Predicted:
  """Returns the next events of each sequence as predictions for T-mAP.

  A gap is its median: the mean of a log-normal mixture with a heavy tail is far
  too large.

  Args:
    network: network of a problem.
    variables: variables of the network.
    events: n sequences.
    event: (n,) integers, index of the last known event of each.

  Returns:
    (n, count) arrays, in order of time, with log probabilities of marks.
  """
  events = events._replace(lengths=np.asarray(event, np.int32) + 1)
  gaps, logs = _read(network, variables, jax.tree.map(jnp.asarray, events))
  rows = np.arange(len(event))
  start = np.asarray(events.times, np.float64)[rows, event]
  times = start[:, None] + np.cumsum(np.asarray(gaps, np.float64), axis=1)
  return event_metrics.Predicted(
    times, np.asarray(logs, np.float64), np.ones(times.shape, bool)
  )


@functools.partial(jax.jit, static_argnums=0)
def _read(network, variables, events):
  """Gaps (n, count) and log probabilities of marks after sequences."""
  prediction = network.apply(variables, events)
  prediction = jax.tree.map(
    lambda x: x[jnp.arange(len(x)), events.lengths], prediction
  )
  logs = jax.nn.log_softmax(prediction.mark_logits)
  return prediction.gap.quantile(0.5), logs
