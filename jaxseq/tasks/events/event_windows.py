"""Events of one long stream, read chunk by chunk with carried states.

    problem = Problem(arm, splits, length=64)

The sequences of the data are windows of one stream in order, as the loader
`event_table` cuts them with the option `window`; here they are joined again. A
chunk is `length` events, with the event before them, from which the first gap
counts. Training reads the training part as parallel streams, one per row of the
batch, and carries the states from chunk to chunk (gradients stop there). Later
parts are scored from the state at the end of the stream before them.
"""

import dataclasses
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import event_likelihood
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import event_start
from jaxseq.tasks.events import network as event_network
from jaxseq.tasks.events import task as events
from jaxseq.training import supervised

# Minimum number of events of a chunk in evaluations.
_PIECE = 128

Config = events.Config


class Rows(NamedTuple):
  """Events of streams, (..., n) each; the first row is the beginning.

  Attributes:
    gaps: float32, since the previous event, in whatever window.
    times: float32, since the beginning of the window.
    marks: int32; the number of marks at the beginning of a stream.
  """

  gaps: np.ndarray
  times: np.ndarray
  marks: np.ndarray


class Stream(NamedTuple):
  """A stream up to the end of a part.

  Attributes:
    rows: (1, events + 1) arrays.
    first: index of the first event that is scored.
    tail: time from the last event to the end of observation; 0 if the stream
      continues.
  """

  rows: Rows
  first: np.ndarray
  tail: np.ndarray


class Batch(NamedTuple):
  """Chunks, (batch, length) except `rows`, which are one longer.

  Attributes:
    rows: the events before the predicted ones, and these.
    reset: where states are reset.
  """

  rows: Rows
  reset: jax.Array


def join(splits: data.Splits) -> dict[str, Stream]:
  """Returns the stream of windows, up to the end of each part.

  Args:
    splits: the consecutive windows of one stream, in order, as from
      `data.load("event_table", stream=None, window=...)`; a window is
      `info.horizon` long, except the last one if it has extras.until.
  """
  window = float(splits.info.horizon)
  times, inner, marks, ends, count, over = [], [], [], {}, 0, 0.0
  for name, part in event_sequences.parts(splits).items():
    inside = masks.inside(part.times.shape[1], part.lengths)
    begin = window * (count + np.arange(len(part.times)))[:, None]
    times.append((begin + part.times.astype(np.float64))[inside])
    inner.append(part.times[inside])
    marks.append(part.marks[inside])
    count += len(part.times)
    ends[name] = sum(map(len, times))
    rest = window if part.until is None else float(part.until[-1])
    over = window * (count - 1) + rest
  # Times are rounded in each window, which may change their order at its ends.
  joined = np.maximum.accumulate(np.concatenate(times))
  gaps = np.diff(joined, prepend=0.0)
  number = splits.info.num_classes or 1
  rows = Rows(
    np.append(0, gaps).astype(np.float32),
    np.append(0, np.concatenate(inner)).astype(np.float32),
    np.append(number, np.concatenate(marks)).astype(np.int32),
  )
  first, streams = 0, {}
  for name, end in ends.items():
    last = end == len(joined)
    streams[name] = Stream(
      Rows(*(x[None, : end + 1] for x in rows)),
      np.int32(first),
      np.float32(over - joined[-1] if last else 0),
    )
    first = end
  return streams


class Problem(base.ArrayProblem):
  """Predicting each event of one stream from all before it.

  Args:
    arm: network, heads and batch size, the number of parallel streams that the
      training part is cut into.
    splits: see `join`.
    length: events of a chunk.

  Raises:
    ValueError: if the training part is too short for the streams, or the
      network pools.
  """

  validated = "nll"

  def __init__(
    self, arm: event_arms.ArmConfig, splits: data.Splits, *, length: int
  ):
    network = events.make_network(arm, event_sequences.statistics(splits))
    streams: dict[str, Any] = join(splits)
    rows = streams["train"].rows
    total = rows.gaps.shape[1] - 1
    count, self.length = arm.batch_size, validate.positive("length", length)
    self.pieces = total // (count * length)
    if self.pieces < 1:
      raise ValueError(
        f"batch_size * length: got {count} * {length}, expected at most "
        f"{total}, the number of training events; set --config.batch_size "
        "or --config.carry."
      )
    # Each stream also has the event before its first.
    starts = np.arange(count)[:, None] * (total // count)
    index = starts + np.arange(self.pieces * length + 1)
    streams["train"] = Rows(*(x[0, index] for x in rows))
    train = event_sequences.parts(splits)["train"]
    self.shares = event_start.shares(network, train)
    super().__init__(arm, network, streams, total)

    def fresh(key):
      return network.apply(self.init(key), (count,), method="fresh")

    # Only their shapes matter: the first reset initializes the states.
    shapes = jax.eval_shape(fresh, jax.random.key(0))
    self.carry = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network."""
    none = jnp.zeros((1, 1))
    first = event_sequences.Sequences(
      none, none, none.astype(jnp.int32), jnp.ones(1, jnp.int32)
    )
    variables = self.network.init(key, first, jnp.ones((1, 2)))
    return event_start.begun(variables, self.shares)

  def sample(
    self, key: jax.Array, update: jax.Array, data: base.PyTree
  ) -> Batch:
    """Returns the next chunk of each stream; after the last, the first."""
    del key
    place = update % self.pieces
    begin = place * self.length
    rows = jax.tree.map(
      lambda x: lax.dynamic_slice_in_dim(x, begin, self.length + 1, axis=1),
      data["train"],
    )
    reset = (jnp.arange(self.length) == 0) & (place == 0)
    return Batch(rows, jnp.broadcast_to(reset, (len(rows.gaps), self.length)))

  def loss(
    self,
    variables: base.PyTree,
    batch: Batch,
    carry: base.PyTree,
    key: jax.Array,
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the mean loss per event in nats; carries the states."""
    before, target = _shifted(batch.rows)
    (prediction, carry), collections, penalty = base.in_training(
      self.network,
      variables,
      key,
      before,
      _positive(target.gaps),
      carry,
      batch.reset,
      method="go_on",
    )
    scores = _scores(self.network, prediction, target)
    value = -scores["log_density"].mean()
    carry = jax.tree.map(lax.stop_gradient, carry)
    metrics = {"train_event_nll": value}
    return value + penalty, supervised.Loss(metrics, collections, carry)

  def measure(
    self, variables: base.PyTree, stream: Stream
  ) -> supervised.Metrics:
    """Scores the end of a stream, from the state after all events before.

    Returns:
      "nll" in nats per event, including the time after the last event if the
      stream ends there, and "event_nll", without it; "rmse", "median_error" and
      "coverage" of the next gap, and "accuracy" of the mark.
    """
    length = max(self.length, _PIECE)
    sums = totals(self.network, variables, stream, length)
    count = jnp.maximum(sums["events"], 1)
    tail, density = sums.pop("log_tail"), sums.pop("log_density")
    right = sums.pop("right")
    del sums["events"]
    return event_likelihood.per_gap(sums) | {
      "nll": -(density + tail) / count,
      "event_nll": -density / count,
      "accuracy": right / count,
    }


def totals(
  network: event_network.EventNetwork,
  variables: base.PyTree,
  stream: Stream,
  length: int,
) -> dict[str, jax.Array]:
  """Sums the scores of a stream, chunk by chunk with carried states.

  Args:
    network: the network.
    variables: variables of the network.
    stream: the stream.
    length: events of a chunk; it affects only memory and speed.

  Returns:
    The sums "log_density", "log_tail", "right", "events", "timed" and those of
    `event_likelihood.of_times`.
  """
  total = stream.rows.gaps.shape[1] - 1
  length = min(length, total)
  whole, rest = divmod(total, length)

  def piece(states, begin, size):
    rows = jax.tree.map(
      lambda x: lax.dynamic_slice_in_dim(x, begin, size + 1, axis=1),
      jax.tree.map(jnp.asarray, stream.rows),
    )
    before, target = _shifted(rows)
    number = begin + jnp.arange(size)
    prediction, states = network.apply(
      variables,
      before,
      _positive(target.gaps),
      states,
      (number == 0)[None],
      method="go_on",
    )
    scored = number >= stream.first
    scores = _scores(network, prediction, target)
    scores["events"] = jnp.ones((1, size))
    sums = {
      name: jnp.where(scored, value, 0).sum() for name, value in scores.items()
    }
    return states, sums

  states, sums = lax.scan(
    lambda states, i: piece(states, i * length, length),
    network.apply(variables, (1,), method="fresh"),
    jnp.arange(whole),
  )
  sums = jax.tree.map(lambda x: x.sum(axis=0), sums)
  if rest:
    states, last = piece(states, whole * length, rest)
    sums = jax.tree.map(jnp.add, sums, last)
  # An event right at the end leaves no time: its logarithm stays finite.
  tail = jnp.full((1, 1), jnp.maximum(stream.tail, 1e-6))
  last = jax.tree.map(lambda x: jnp.asarray(x[:, -1:]), stream.rows)
  prediction, _ = network.apply(
    variables, last, tail, states, jnp.zeros((1, 1), bool), method="go_on"
  )
  silence = prediction.gap.log_survival(tail)[0, 0]
  return sums | {"log_tail": jnp.where(stream.tail > 0, silence, 0.0)}


def _shifted(rows):
  """The events before the predicted ones, and these."""
  return Rows(*(x[:, :-1] for x in rows)), Rows(*(x[:, 1:] for x in rows))


def _positive(gaps):
  """Gaps, with 1 for events that begin the observation."""
  return jnp.where(gaps > 0, gaps, 1.0)


def _scores(network, prediction, target):
  """Scores (batch, length) of each event, by name."""
  timed = target.gaps > 0
  times = event_likelihood.of_times(
    prediction.gap, _positive(target.gaps), network.statistics.horizon
  )
  right = jnp.argmax(prediction.mark_logits, axis=-1) == target.marks
  return {
    "log_density": event_likelihood.of_events(
      prediction, target.gaps, target.marks
    ),
    **{name: jnp.where(timed, x, 0.0) for name, x in times.items()},
    "timed": timed.astype(jnp.float32),
    "right": right.astype(jnp.float32),
  }


def make(
  arm: event_arms.ArmConfig, splits: data.Splits, config: Any
) -> supervised.Problem:
  """Returns the problem of an arm: of one stream if `config.carry` is set."""
  if getattr(config, "carry", None) is None:
    return events.Problem(arm, splits)
  return Problem(arm, splits, length=config.carry)


TASK = dataclasses.replace(events.TASK, problem=make)
