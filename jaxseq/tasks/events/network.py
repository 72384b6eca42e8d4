"""A network that reads events and predicts the gap and mark of the next one.

Either the gap has a mixture of log-normal distributions (Shchur et al.,
arXiv:1909.12127), and the mark a categorical one; or each mark has an intensity
between events, from any mixer or a model of `rate_models`.
"""

import functools
import math
from typing import Any
from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq import validate
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import event_rates
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import gap_mixture
from jaxseq.tasks.events.rate_models import decays
from jaxseq.types import PyTree

Array = jax.Array

# Bounds of the logarithm of a component's scale, in units of the deviation of
# log gaps: a wide log-normal distribution has an extremely large mean.
LOG_SCALE = (-5.0, 0.5)


Gap = gap_mixture.Mixture | event_rates.Hazard


class Prediction(NamedTuple):
  """The prediction of an event, from the events before it.

  Attributes:
    gap: distribution of the time until it.
    mark_logits: (..., marks), given that gap if they depend on it.
  """

  gap: Gap
  mark_logits: Array


class Memory(NamedTuple):
  """The state after an event, for the next step.

  Attributes:
    state: state that predictions are computed from, see `EventNetwork.read`.
    carry: states of the network's layers; () for a model of `rate_models`.
  """

  state: PyTree
  carry: PyTree


class EventNetwork(linen.Module):
  """A sequence network over events, with heads for gap and mark.

  Attributes:
    config: options of the arm; its network does not pool.
    statistics: statistics of the data.
  """

  config: event_arms.ArmConfig
  statistics: event_sequences.Statistics

  def setup(self):
    """Declares the modules that have parameters."""
    config, marks = self.config, self.statistics.num_marks
    if self._is_model:
      module, options = config.model(marks)
      self.process = self.param("process", module.init, options)
      return
    width = config.network.stack.d_model
    self.network = nn.SequenceNetwork(
      config.network,
      {
        "density": 3 * config.components + config.mark_width,
        "intensity": 4 * width,
        "gompertz": 1 + marks,
      }[config.head],
    )
    if config.head == "intensity":
      init = decays.init_read_out
      self.read_out = self.param("read_out", init, marks, width)
    elif config.head == "gompertz":
      self.slope = self.param("slope", linen.initializers.zeros_init(), ())
    else:
      if config.mark_sees_gap:
        width = config.mark_width
        self.gap, self.gap_in = linen.Dense(width), linen.Dense(width)
        self.gap_out = linen.Dense(width)
      self.marks = linen.Dense(sum(self.statistics.columns) or marks)

  def __call__(
    self,
    events: event_sequences.Sequences,
    next_gap: Array,
    train: bool = False,
  ) -> Prediction:
    """Predicts every event, and the one after the last, from those before.

    Args:
      events: (*batch, events) arrays.
      next_gap: (*batch, events + 1), the gaps to predict, which the marks may
        depend on; all above 0.
      train: whether dropout is on, and integrals use random points.

    Returns:
      The predictions, (*batch, events + 1, ...).
    """
    return self.predict(self.read(events, train), next_gap, train)

  def read(
    self, events: event_sequences.Sequences, train: bool = False
  ) -> PyTree:
    """Returns the states before the first event, and after each.

    Returns:
      A pytree of arrays (*batch, events + 1, ...); arrays that all states of a
      sequence share have 1 instead of events + 1.
    """
    if self._is_model:
      front = [(0, 0)] * (events.marks.ndim - 1) + [(1, 0)]
      begin = self.statistics.num_marks
      marks = jnp.pad(events.marks, front, constant_values=begin)
      gaps = jnp.pad(self._scaled(events.gaps), front)
      states, _ = self._model("apply", marks, gaps)
      if train and getattr(states, "prompts", None) is not None:
        self._attract(states.prompts.cosine, events.lengths)
      return states
    outputs, _ = self.network(
      self._features(events), lengths=events.lengths + 1, train=train
    )
    return self._decoded(outputs)

  def fresh(self, batch_shape: tuple[int, ...] = ()) -> PyTree:
    """Returns the initial states for `go_on`, before any event."""
    if self._is_model:
      return self._model("initial_state", batch_shape)
    variables = {
      name: tree.get("network", {}) for name, tree in self.variables.items()
    }
    return self.network.initial_state(batch_shape, variables=variables)

  def go_on(
    self,
    events: Any,
    next_gap: Array,
    carry: PyTree,
    reset: Array,
    train: bool = False,
  ) -> tuple[Prediction, PyTree]:
    """Predicts the event after each of some, given earlier states.

    Args:
      events: (*batch, events) arrays `gaps`, `times` and `marks`; at the start
        of a sequence the mark is the number of marks.
      next_gap: (*batch, events), the gaps to predict.
      carry: states after the previous events, initially from `fresh`.
      reset: (*batch, events) bool, True resets the states before an event.
      train: see `__call__`.

    Returns:
      The predictions (*batch, events, ...), and the states after the last.
    """
    if self._is_model:
      gaps = self._scaled(events.gaps)
      states, carry = self._model("apply", events.marks, gaps, carry, reset)
    else:
      begin = (events.marks == self.statistics.num_marks)[..., None]
      lengths = jnp.zeros(events.gaps.shape[:-1], jnp.int32)
      rows = event_sequences.Sequences(
        events.gaps, events.times, events.marks, lengths
      )
      features = self._features(rows)
      features = jnp.where(begin, features[..., :1, :], features[..., 1:, :])
      outputs, carry = self.network(features, carry, reset, train=train)
      states = self._decoded(outputs)
    return self.predict(states, next_gap, train), carry

  def predict(
    self, state: PyTree, next_gap: Array, train: bool = False
  ) -> Prediction:
    """Predicts the events after some states, see `__call__`.

    Args:
      state: (...), from `read`.
      next_gap: (...).
      train: whether integrals use random points.
    """
    config = self.config
    if config.head == "density":
      return self._heads(state, next_gap)
    known = self.statistics
    times = event_rates.table_times(
      known.log_mean, known.log_deviation, known.horizon
    )
    if config.head == "gompertz":
      return Prediction(state.hazard(next_gap, times), state.mark_logits)
    rates = functools.partial(self.intensity, state)
    at_event = rates(next_gap[..., None])[..., 0, :]
    if train:
      key = self.make_rng("dropout")
      hazard = event_rates.sampled(rates, next_gap, config.points, key)
    else:
      hazard = event_rates.evaluated(rates, next_gap, config.nodes, times)
    return Prediction(hazard, event_rates.safe_log(at_event))

  def intensity(self, state: PyTree, elapsed: Array) -> Array:
    """Returns intensities (..., n, marks), in events per unit of time.

    Args:
      state: (...), from `read`.
      elapsed: (..., n), times since the last event, above 0.
    """
    config = self.config
    if config.head == "gompertz":
      return state.intensity(elapsed)
    if config.head == "density":
      one = jax.tree.map(lambda x: x[..., None, :], state)
      mixture, logits = self._heads(one, elapsed)
      rate = mixture.log_density(elapsed) - mixture.log_survival(elapsed)
      return jnp.exp(rate)[..., None] * jax.nn.softmax(logits)
    scaled = self._scaled(elapsed)
    if config.head == "intensity":
      rates = decays.intensity(self.read_out, state, scaled)
    else:
      rates = self._model("intensity", state, scaled)
    return rates / self._unit

  def bound(self, state: PyTree, elapsed: Array) -> Array:
    """Returns an upper bound (...) of the total intensity from a time on.

    Args:
      state: (...), from `read`.
      elapsed: (...), time since the last event.

    Raises:
      ValueError: if the intensities have no bound.
    """
    config, scaled = self.config, self._scaled(elapsed)
    if config.head == "intensity":
      top = decays.bound(self.read_out, state, scaled)
    elif self._is_model:
      top = self._model("bound", state, scaled)
    else:
      expected = (
        f"one of 'intensity', {', '.join(map(repr, event_arms.MODELS))}"
      )
      raise validate.error("head", config.head, expected)
    return top / self._unit

  def begin(self, batch_shape: tuple[int, ...] = ()) -> Memory:
    """Returns the memory of sequences before their first events."""
    carry = self.fresh(batch_shape)
    if self._is_model:
      begin = jnp.full(batch_shape, self.statistics.num_marks)
      gap = jnp.zeros(batch_shape)
      return Memory(self._model("step", begin, gap, carry), ())
    none = jnp.zeros((*batch_shape, 0))
    empty = event_sequences.Sequences(none, none, none.astype(jnp.int32), none)
    return self._next(self._features(empty)[..., 0, :], carry)

  def step(
    self, memory: Memory, gap: Array, time: Array, mark: Array
  ) -> Memory:
    """Reads one event of each sequence.

    Args:
      memory: (*batch, ...), initially from `begin`.
      gap: (*batch,), time since the previous event.
      time: (*batch,), time of the event.
      mark: (*batch,).
    """
    if self._is_model:
      gap = self._scaled(gap)
      return Memory(self._model("step", mark, gap, memory.state), ())
    one = event_sequences.Sequences(
      *(x[..., None] for x in (gap, time, mark)), gap
    )
    return self._next(self._features(one)[..., 1, :], memory.carry)

  @property
  def _is_model(self):
    """True if the head is a model of `rate_models`, without a network."""
    return self.config.head in event_arms.MODELS

  def _model(self, name, *arguments):
    """Calls a function of the model by its name."""
    module, options = self.config.model(self.statistics.num_marks)
    return getattr(module, name)(options, self.process, *arguments)

  def _next(self, features, carry):
    outputs, carry = self.network.step(features, carry)
    return Memory(self._decoded(outputs), carry)

  def _decoded(self, outputs):
    """Converts the network's outputs to a state."""
    if self.config.head == "intensity":
      return decays.decode(outputs)
    if self.config.head == "gompertz":
      rate = outputs[..., 0] - math.log(self._unit)
      slope = jnp.broadcast_to(self.slope / self._unit, rate.shape)
      return event_rates.Gompertz(rate, slope, outputs[..., 1:])
    return outputs

  def _attract(self, cosine, lengths):
    """Adds a loss that attracts keys of prompts to their final queries."""
    _, options = self.config.model(self.statistics.num_marks)
    last = jnp.take_along_axis(cosine, lengths[..., None], axis=-1).sum()
    count = jnp.maximum(lengths.sum(), 1)
    self.sow("losses", "prompts", -options.attraction * last / count)

  def _features(self, events):
    frequencies = self.config.time_frequencies
    return event_sequences.features(events, self.statistics, frequencies)

  @property
  def _unit(self):
    """The unit of time of intensities: about a gap."""
    return math.exp(self.statistics.log_mean)

  def _scaled(self, gap):
    return gap / self._unit

  def _heads(self, outputs, next_gap):
    config, statistics = self.config, self.statistics
    gap, state = jnp.split(outputs, [3 * config.components], axis=-1)
    gap = mixture(gap, statistics)
    hidden = state
    if config.mark_sees_gap:
      z = statistics.scaled_log(next_gap)[..., None]
      seen = linen.tanh(self.gap(z))
      hidden = state + self.gap_out(linen.tanh(state + self.gap_in(seen)))
    logits = self.marks(linen.tanh(hidden))
    if statistics.columns:
      # The softmax of such sums is the product of the columns' softmaxes.
      logits = logits @ statistics.words()
    return Prediction(gap, logits)


def mixture(
  outputs: Array, statistics: event_sequences.Statistics
) -> gap_mixture.Mixture:
  """Returns the distribution of a gap from a network's outputs.

  Args:
    outputs: (..., 3 components).
    statistics: statistics of the training data, which scale it.
  """
  weight, mean, scale = jnp.split(outputs, 3, axis=-1)
  count = weight.shape[-1]
  # Spread out initially, or all components would be trained in the same way.
  offsets = jnp.linspace(-2.0, 2.0, count) if count > 1 else jnp.zeros(1)
  return gap_mixture.Mixture(
    jax.nn.log_softmax(weight),
    statistics.log_mean + statistics.log_deviation * (mean + offsets),
    math.log(statistics.log_deviation) + _bounded(scale),
  )


def _bounded(scale):
  """Maps real numbers to the bounds of log scales, 0 to about -0.5."""
  low, high = LOG_SCALE
  return low + (high - low) * jax.nn.sigmoid(scale + 1.5)
