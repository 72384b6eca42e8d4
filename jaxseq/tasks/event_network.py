"""A network that reads events and predicts the next one, gap and mark.

The gap has a mixture of log-normal distributions (Shchur et al.,
arXiv:1909.12127), the mark a categorical one.
"""

import dataclasses
import math
from typing import NamedTuple

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import nn
from jaxseq.tasks import base

Array = jax.Array

# Bounds of the logarithm of a component's scale, in units of the deviation of
# log gaps: a wide log-normal distribution has a mean beyond all bounds.
_LOG_SCALE = (-5.0, 0.5)
# Halvings of the logarithm's range: far below what float32 can tell apart.
_HALVINGS = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """The options of arms that a comparison may have for all of them.

  Attributes:
    components: of the mixture.
    mark_width: hidden width between state and gap, and the marks.
    mark_sees_gap: whether the probabilities of the mark depend on the gap that
      led to it, as they do in a Hawkes process; otherwise gap and mark are
      independent, given the events before.
    time_frequencies: pairs of a sine and a cosine that tell the time of the
      last event; their periods are 2, 1, 1/2, ... horizons.
  """

  components: int = 16
  mark_width: int = 32
  mark_sees_gap: bool = True
  time_frequencies: int = 0


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """The network and the training of one arm, with `Options`."""

  def __post_init__(self):
    super().__post_init__()
    _validate.at_least(self, components=1, mark_width=1, time_frequencies=0)


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
    until: (n,) float32, until when each was observed; the horizon if None.
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
  """The statistics of the training data, by which the network scales its own.

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

  def quantile(self, level: float) -> Array:
    """Returns gaps (...) that come with a probability of at most `level`."""
    # Each component is below its own quantile with that probability, so that
    # the mixture's lies between the least and the greatest of them.
    ends = self.mean + jnp.exp(self.log_scale) * jax.scipy.special.ndtri(level)

    def halve(ends, _):
      low, high = ends
      middle = 0.5 * (low + high)
      below = self.log_survival(jnp.exp(middle)) > jnp.log1p(-level)
      ends = jnp.where(below, middle, low), jnp.where(below, high, middle)
      return ends, None

    first = ends.min(axis=-1), ends.max(axis=-1)
    (low, high), _ = lax.scan(halve, first, length=_HALVINGS)
    return jnp.exp(0.5 * (low + high))

  def intensity(self, elapsed: Array) -> Array:
    """Returns the rate of events, (..., times), after some time without one.

    Args:
      elapsed: (..., times), above 0, since the last event.
    """
    one = jax.tree.map(lambda x: x[..., None, :], self)
    return jnp.exp(one.log_density(elapsed) - one.log_survival(elapsed))


class Prediction(NamedTuple):
  """The prediction of an event, from the events before it.

  Attributes:
    gap: distribution of the time until it.
    mark_logits: (..., marks), given that gap where `mark_sees_gap`.
  """

  gap: Mixture
  mark_logits: Array


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
    )(self._features(events), lengths=events.lengths + 1, train=train)
    return self._heads(outputs, next_gap)

  def _features(self, events: Sequences) -> Array:
    """The features of each event: (*batch, events + 1, features)."""
    statistics = self.statistics
    gaps = jnp.where(events.gaps > 0, events.gaps, 1.0)
    time = events.times / statistics.horizon
    # Longer streams than those of the training, such as those that were cut
    # into windows, are read as one window after the other.
    time = time - jnp.maximum(jnp.ceil(time) - 1, 0)
    periods = 2.0 ** jnp.arange(self.config.time_frequencies)
    angles = math.pi * time[..., None] * periods
    features = jnp.concatenate(
      [
        jax.nn.one_hot(events.marks, statistics.num_marks),
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
    config, statistics = self.config, self.statistics
    count = config.components
    weight, mean, scale, state = jnp.split(
      outputs, [count, 2 * count, 3 * count], axis=-1
    )
    # Spread out at first, or all components would be trained alike.
    offsets = jnp.linspace(-2.0, 2.0, count) if count > 1 else jnp.zeros(1)
    gap = Mixture(
      jax.nn.log_softmax(weight),
      statistics.log_mean + statistics.log_deviation * (mean + offsets),
      math.log(statistics.log_deviation) + _bounded(scale),
    )
    hidden = state
    if config.mark_sees_gap:
      width = config.mark_width
      z = self._scaled_log(next_gap)[..., None]
      seen = linen.tanh(linen.Dense(width, name="gap")(z))
      hidden = state + linen.Dense(width, name="gap_out")(
        linen.tanh(state + linen.Dense(width, name="gap_in")(seen))
      )
    logits = linen.Dense(statistics.num_marks, name="marks")(linen.tanh(hidden))
    return Prediction(gap, logits)

  def _scaled_log(self, gap):
    statistics = self.statistics
    return (jnp.log(gap) - statistics.log_mean) / statistics.log_deviation


def _bounded(scale):
  """Maps real numbers to the bounds of log scales, 0 to about -0.5."""
  low, high = _LOG_SCALE
  return low + (high - low) * jax.nn.sigmoid(scale + 1.5)
