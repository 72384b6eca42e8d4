"""Marked temporal point processes: when is the next event, and which?

A network reads the events one by one; after each, and before the first, it
gives the density of the gap to the next event, a mixture of log-normal
distributions (Shchur et al., arXiv:1909.12127), and the probabilities of its
mark. The likelihood of a sequence observed on (0, horizon] is the product of
the densities of its events, times the probability of no event between the last
one and the horizon.
"""

import dataclasses
import math
from typing import Any
from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data as data_lib
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.training import supervised

Array = jax.Array

# Bounds of the logarithm of a component's scale, in units of the deviation of
# log gaps: a wide log-normal distribution has a mean beyond all bounds.
_LOG_SCALE = (-5.0, 0.5)


@dataclasses.dataclass(frozen=True)
class ArmConfig(base.ArmConfig):
  """How one arm is built and trained.

  Attributes:
    components: of the mixture.
    mark_width: hidden width between state and gap, and the marks.
    mark_sees_gap: whether the probabilities of the mark depend on the gap that
      led to it, as they do in a Hawkes process; otherwise gap and mark are
      independent, given the events before.
    time_frequencies: pairs of a sine and a cosine that tell the time of the
      last event; their periods are 2, 1, 1/2, ... horizons.
  """

  _: dataclasses.KW_ONLY
  components: int = 16
  mark_width: int = 32
  mark_sees_gap: bool = True
  time_frequencies: int = 0

  def __post_init__(self):
    super().__post_init__()
    for name in ("components", "mark_width"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}: got {getattr(self, name)}, expected >= 1.")
    if self.time_frequencies < 0:
      raise ValueError(
        f"time_frequencies: got {self.time_frequencies}, expected >= 0."
      )


class Sequences(NamedTuple):
  """Event sequences, padded at their ends.

  Attributes:
    gaps: (n, events) float32, the time since the event before, or since 0.
    times: (n, events) float32.
    marks: (n, events) int32.
    lengths: (n,) int32.
    true_events: (n, events) float32, the log density of each event under the
      process that made it; None if that is unknown.
    true_tail: (n,) float32, likewise the log probability of no event between
      the last one and the horizon.
  """

  gaps: Array
  times: Array
  marks: Array
  lengths: Array
  true_events: Array | None = None
  true_tail: Array | None = None


@dataclasses.dataclass(frozen=True)
class Statistics:
  """What the network knows of the data beforehand.

  Attributes:
    num_marks: number of marks.
    horizon: until when sequences were observed.
    log_mean: mean of the logarithms of the training gaps.
    log_deviation: their standard deviation.
  """

  num_marks: int
  horizon: float
  log_mean: float
  log_deviation: float


class Mixture(NamedTuple):
  """Mixture of log-normal distributions of a gap.

  Attributes:
    log_weight: (..., components), normalised.
    mean: (..., components), of the logarithm of the gap.
    log_scale: (..., components), logarithm of its standard deviation.
  """

  log_weight: Array
  mean: Array
  log_scale: Array

  def log_density(self, gap: Array) -> Array:
    """Returns log f(gap), (...), of positive gaps (...)."""
    log_gap = jnp.log(gap)[..., None]
    z = (log_gap - self.mean) * jnp.exp(-self.log_scale)
    parts = -0.5 * z * z - self.log_scale - 0.5 * math.log(2 * math.pi)
    return jax.nn.logsumexp(self.log_weight + parts - log_gap, axis=-1)

  def log_survival(self, gap: Array) -> Array:
    """Returns log P(next gap > gap), (...), of positive gaps (...)."""
    z = (jnp.log(gap)[..., None] - self.mean) * jnp.exp(-self.log_scale)
    return jax.nn.logsumexp(
      self.log_weight + jax.scipy.special.log_ndtr(-z), axis=-1
    )

  def expectation(self) -> Array:
    """Returns the mean gap (...)."""
    log_means = self.mean + 0.5 * jnp.exp(2 * self.log_scale)
    return jnp.exp(jax.nn.logsumexp(self.log_weight + log_means, axis=-1))


class Prediction(NamedTuple):
  """What is said before an event.

  Attributes:
    gap: distribution of the time until it.
    mark_logits: (..., marks), given that gap where `mark_sees_gap`.
  """

  gap: Mixture
  mark_logits: Array


def sequences(part: data_lib.ArrayDataset) -> Sequences:
  """Returns a part of a data set of event sequences.

  Args:
    part: inputs (n, events, 1), the gaps; targets (n, events), the marks;
      extras "times", and perhaps "log_density" and "tail"; as from
      `data.point_processes.load`.

  Raises:
    ValueError: if the part holds no event sequences.
  """
  extras = part.extras or {}
  if "times" not in extras or part.inputs.shape[2:] != (1,):
    raise ValueError(
      "the data must be event sequences, with gaps (n, events, 1) and extras "
      f"'times'; got inputs of shape {part.inputs.shape} and extras "
      f"{sorted(extras)}."
    )
  lengths = part.lengths
  if lengths is None:
    lengths = np.full(len(part.inputs), part.inputs.shape[1], np.int32)
  return Sequences(
    part.inputs[..., 0],
    extras["times"],
    part.targets,
    lengths,
    extras.get("log_density"),
    extras.get("tail"),
  )


def statistics(splits: data_lib.Splits) -> Statistics:
  """Returns what the network is told of the data beforehand."""
  train = sequences(splits.train)
  if "horizon" not in splits.info.details:
    raise ValueError(
      "info.details must hold the horizon, until when sequences were observed."
    )
  inside = np.arange(train.gaps.shape[1]) < train.lengths[:, None]
  logs = np.log(np.asarray(train.gaps, np.float64)[inside])
  if logs.size < 2 or not np.isfinite(logs).all():
    raise ValueError(
      "the training sequences must have at least 2 events, with gaps above 0."
    )
  return Statistics(
    splits.info.num_classes or 1,
    float(splits.info.details["horizon"]),
    float(logs.mean()),
    float(logs.std()),
  )


class EventNetwork(linen.Module):
  """A sequence network over events, with heads for gap and mark.

  Attributes:
    config: the arm; its network does not pool.
    statistics: of the data.
  """

  config: ArmConfig
  statistics: Statistics

  @linen.compact
  def __call__(
    self, events: Sequences, next_gap: Array, train: bool = False
  ) -> Prediction:
    """Predicts every event, and the one after the last, from those before it.

    Args:
      events: (*batch, events) arrays.
      next_gap: (*batch, events + 1), the gaps to predict, which the marks may
        depend on; all above 0.
      train: whether dropout is on.

    Returns:
      The predictions, (*batch, events + 1, ...).
    """
    config = self.config
    size = 3 * config.components
    outputs, _ = nn.SequenceNetwork(
      config.network, size + config.mark_width, name="network"
    )(self._features(events), train=train)
    return self._heads(outputs, next_gap)

  def _features(self, events: Sequences) -> Array:
    """What tells of each event: (*batch, events + 1, features)."""
    known = self.statistics
    gaps = jnp.where(events.gaps > 0, events.gaps, 1.0)
    time = events.times / known.horizon
    periods = 2.0 ** jnp.arange(self.config.time_frequencies)
    angles = math.pi * time[..., None] * periods
    features = jnp.concatenate(
      [
        jax.nn.one_hot(events.marks, known.num_marks),
        self._scaled_log(gaps)[..., None],
        time[..., None],
        jnp.sin(angles),
        jnp.cos(angles),
      ],
      axis=-1,
    )
    # Before the first event stands a row that is told by its last number.
    rows = [(0, 0)] * (features.ndim - 2)
    features = jnp.pad(features, [*rows, (1, 0), (0, 1)])
    return features.at[..., 0, -1].set(1.0)

  def _heads(self, outputs, next_gap):
    config, known = self.config, self.statistics
    count = config.components
    weight, mean, scale, state = jnp.split(
      outputs, [count, 2 * count, 3 * count], axis=-1
    )
    # Spread out at first, or all components would be trained alike.
    offsets = jnp.linspace(-2.0, 2.0, count) if count > 1 else jnp.zeros(1)
    gap = Mixture(
      jax.nn.log_softmax(weight),
      known.log_mean + known.log_deviation * (mean + offsets),
      math.log(known.log_deviation) + _bounded(scale),
    )
    hidden = state
    if config.mark_sees_gap:
      width = config.mark_width
      z = self._scaled_log(next_gap)[..., None]
      seen = linen.tanh(linen.Dense(width, name="gap")(z))
      hidden = state + linen.Dense(width, name="gap_out")(
        linen.tanh(state + linen.Dense(width, name="gap_in")(seen))
      )
    logits = linen.Dense(known.num_marks, name="marks")(linen.tanh(hidden))
    return Prediction(gap, logits)

  def _scaled_log(self, gap):
    known = self.statistics
    return (jnp.log(gap) - known.log_mean) / known.log_deviation


def _bounded(scale):
  """Maps real numbers to the bounds of log scales, 0 to about -0.5."""
  low, high = _LOG_SCALE
  return low + (high - low) * jax.nn.sigmoid(scale + 1.5)


class Terms(NamedTuple):
  """The terms of the log likelihood, as of `data.point_processes.LogDensity`.

  Attributes:
    events: (n, events), log density of each event, gap and mark; 0 behind the
      end.
    tail: (n,), log probability of no event between the last and the horizon.
  """

  events: Array
  tail: Array


def per_event(terms: Terms, lengths: Array) -> tuple[Array, Array]:
  """Returns negative log likelihoods in nats per event.

  Args:
    terms: of the model, or of the process that made the data.
    lengths: (n,), numbers of events.

  Returns:
    The sum over all terms, and the sum over the events alone, both divided by
    the number of events. What no model can beat in expectation is the first:
    that sequences end at the horizon makes long gaps rare among the events.
  """
  inside = jnp.arange(terms.events.shape[1]) < lengths[:, None]
  events = jnp.where(inside, terms.events, 0).sum()
  count = jnp.maximum(lengths.sum(), 1)
  return -(events + terms.tail.sum()) / count, -events / count


def log_likelihood(
  prediction: Prediction, events: Sequences, horizon: float
) -> Terms:
  """Scores predictions of sequences.

  Args:
    prediction: (n, events + 1, ...).
    events: (n, events) arrays.
    horizon: until when the sequences were observed.
  """
  inside = jnp.arange(events.gaps.shape[1]) < events.lengths[:, None]
  gap, tail = _positive_gaps(events, horizon)
  before = jax.tree.map(lambda x: x[:, :-1], prediction)
  log_marks = jax.nn.log_softmax(before.mark_logits)
  log_mark = jnp.take_along_axis(log_marks, events.marks[..., None], axis=-1)
  scores = before.gap.log_density(gap) + log_mark[..., 0]
  last = jax.tree.map(
    lambda x: jnp.take_along_axis(x, events.lengths[:, None, None], axis=1),
    prediction.gap,
  )
  survival = last.log_survival(tail[:, None])[:, 0]
  return Terms(jnp.where(inside, scores, 0.0), survival)


def make_network(arm: ArmConfig, known: Statistics) -> EventNetwork:
  """Returns the network of an arm.

  Raises:
    ValueError: if it pools.
  """
  if arm.network.pooling != "none":
    raise ValueError(
      f"network.pooling: got {arm.network.pooling!r}, expected 'none', as "
      "every event is predicted."
    )
  return EventNetwork(arm, known)


def make_problem(arm: ArmConfig, splits: data_lib.Splits) -> supervised.Problem:
  """Returns the problem of predicting events.

  Args:
    arm: network, heads and batch size, in sequences.
    splits: event sequences; `info` with num_classes, the number of marks, and
      details["horizon"].

  Returns:
    A problem whose evaluation gives, on the test sequences, "nll" (nats per
    event, see `per_event`) and "event_nll" (without the ends of sequences),
    "rmse" of the next gap's mean in units of time, and "accuracy" of the mark,
    given its gap where `mark_sees_gap`; where the process is known also
    "nll_gap", how far "nll" is above that of the process on the same
    sequences; and "valid_nll".

  Raises:
    ValueError: if the data are no event sequences, batches are larger than the
      training set, or the network pools.
  """
  known = statistics(splits)
  network = make_network(arm, known)
  if splits.valid is None:
    raise ValueError("the data must have validation sequences.")
  parts = {
    "train": sequences(splits.train),
    "valid": sequences(splits.valid),
    "test": sequences(splits.test),
  }
  size = len(parts["train"].gaps)
  if arm.batch_size > size:
    raise ValueError(
      f"batch_size: got {arm.batch_size}, expected at most {size}, the number "
      "of training sequences."
    )

  def predict(variables, events, **options):
    gap, tail = _positive_gaps(events, known.horizon)
    # The last gap has no event; its mark is not scored.
    next_gap = jnp.concatenate([gap, tail[:, None]], axis=1)
    return network.apply(variables, events, next_gap, **options)

  def init(key):
    return network.init(key, *_example(parts["train"]))

  def sample(key, update, data):
    index = supervised.draw(key, update, size, arm.batch_size)
    return base.take(data["train"], index)

  def loss(variables, batch, carry, key):
    prediction, collections = predict(
      variables,
      batch,
      train=True,
      rngs={"dropout": key},
      mutable=["batch_stats"],
    )
    terms = log_likelihood(prediction, batch, known.horizon)
    value, events = per_event(terms, batch.lengths)
    return value, supervised.Loss(
      {"train_event_nll": events}, collections, carry
    )

  def score(variables):
    def function(batch):
      prediction = predict(variables, batch)
      return _score(prediction, batch, known.horizon), batch.lengths.sum()

    return function

  def evaluate(variables, data):
    def of(part):
      return base.average_over(
        score(variables), data[part], max(arm.batch_size, 64)
      )

    metrics = of("test")
    metrics["rmse"] = jnp.sqrt(metrics.pop("squared_error"))
    return metrics | {"valid_nll": of("valid")["nll"]}

  return supervised.Problem(init, sample, loss, evaluate, base.host(parts))


def baselines(splits: data_lib.Splits) -> dict[str, dict[str, float]]:
  """Scores the process that made the test sequences, where it is known."""
  test = sequences(splits.test)
  if test.true_events is None:
    return {}
  terms = Terms(
    np.asarray(test.true_events, np.float64),
    np.asarray(test.true_tail, np.float64),
  )
  nll, event_nll = per_event(terms, test.lengths)
  return {
    "true process": {
      "nll": float(nll),
      "nll_gap": 0.0,
      "event_nll": float(event_nll),
    }
  }


def _example(events: Sequences) -> tuple[Any, Array]:
  one = jax.tree.map(lambda x: jnp.asarray(x[:1]), events)
  return one, jnp.ones((1, one.gaps.shape[1] + 1))


def _positive_gaps(events, horizon):
  """Gaps with 1 behind the end; and from the last event to the horizon."""
  inside = jnp.arange(events.gaps.shape[1]) < events.lengths[:, None]
  gap = jnp.where(inside & (events.gaps > 0), events.gaps, 1.0)
  last = jnp.where(inside, events.times, 0.0).max(axis=1)
  # An event right at the horizon leaves no time: its logarithm stays finite.
  return gap, jnp.maximum(horizon - last, 1e-6)


def _score(prediction, events, horizon):
  """Means over the events of a batch."""
  terms = log_likelihood(prediction, events, horizon)
  nll, event_nll = per_event(terms, events.lengths)
  metrics = {"nll": nll, "event_nll": event_nll}
  if events.true_events is not None:
    true, _ = per_event(
      Terms(events.true_events, events.true_tail), events.lengths
    )
    metrics["nll_gap"] = nll - true
  inside = jnp.arange(events.gaps.shape[1]) < events.lengths[:, None]
  count = jnp.maximum(events.lengths.sum(), 1)
  before = jax.tree.map(lambda x: x[:, :-1], prediction)
  error = before.gap.expectation() - events.gaps
  right = jnp.argmax(before.mark_logits, axis=-1) == events.marks
  metrics["squared_error"] = jnp.where(inside, error**2, 0).sum() / count
  metrics["accuracy"] = jnp.where(inside, right, False).sum() / count
  return metrics
