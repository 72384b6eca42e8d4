"""A network that reads events and predicts the next one, gap and mark.

Either the gap has a mixture of log-normal distributions (Shchur et al.,
arXiv:1909.12127), and the mark a categorical one; or each mark has an intensity
between events, of any mixer or of a model of `nn.intensities`.
"""

import dataclasses
import functools
import math
from typing import Any
from typing import Literal
from typing import NamedTuple

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.nn import intensities
from jaxseq.nn.intensities import decays
from jaxseq.tasks import base
from jaxseq.tasks import event_rates

Array = jax.Array

# Heads that are networks of their own.
MODELS = ("nhp", "attnhp", "s2p2")
Head = Literal["density", "intensity", "gompertz", "nhp", "attnhp", "s2p2"]

# Bounds of the logarithm of a component's scale, in units of the deviation of
# log gaps: a wide log-normal distribution has a mean beyond all bounds.
_LOG_SCALE = (-5.0, 0.5)
# Halvings of the logarithm's range: far below what float32 can tell apart.
_HALVINGS = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """The options of arms that a comparison may have for all of them.

  Attributes:
    head: what is predicted with. "density": a mixture for the gap, and the
      probabilities of the mark; "intensity": an intensity for each mark, of
      units that decay from event to event; "gompertz": intensities that rise or
      fall exponentially, all alike, as RMTPP's; or a model of
      `nn.intensities`, which takes the place of the network and of this only
      the width and the number of layers.
    points: random points of a gap at which intensities are integrated in
      training.
    nodes: of the quadrature of intensities in evaluations.
    components: of the mixture.
    mark_width: hidden width between state and gap, and the marks.
    mark_sees_gap: whether the probabilities of the mark depend on the gap that
      led to it, as they do in a Hawkes process; otherwise gap and mark are
      independent, given the events before.
    time_frequencies: pairs of a sine and a cosine that tell the time of the
      last event; their periods are 2, 1, 1/2, ... horizons.
  """

  head: Head = "density"
  points: int = 10
  nodes: int = 200
  components: int = 16
  mark_width: int = 32
  mark_sees_gap: bool = True
  time_frequencies: int = 0


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """The network and the training of one arm, with `Options`.

  Attributes:
    head_options: fields of the Config of a model of `nn.intensities`.
  """

  _: dataclasses.KW_ONLY
  head_options: nn.stack.Options = ()

  def __post_init__(self):
    super().__post_init__()
    _validate.at_least(self, components=1, mark_width=1, time_frequencies=0)
    _validate.at_least(self, points=1, nodes=1)
    options = tuple(sorted(dict(self.head_options).items()))
    object.__setattr__(self, "head_options", options)
    if self.head in MODELS:
      self.model(1)
    elif options:
      expected = f"none, as the head is none of {', '.join(MODELS)}"
      raise _validate.error("head_options", self.head_options, expected)

  @property
  def ssm_parameters(self) -> tuple[str, ...]:
    """Names of the network's; a model in its place has none of them."""
    return () if self.head in MODELS else super().ssm_parameters

  def model(self, num_marks: int) -> tuple[Any, decays.Config]:
    """Returns the module of `nn.intensities` that is the head, and its Config.

    Raises:
      ValueError: if it has no such option, or a value is wrong.
    """
    module, stack = getattr(intensities, self.head), self.network.stack
    names = [field.name for field in dataclasses.fields(module.Config)]
    fields = {"num_marks": num_marks, "d_model": stack.d_model}
    if "num_layers" in names:
      fields["num_layers"] = stack.num_layers
    for name, _ in self.head_options:
      choices = [name for name in names if name not in fields]
      _validate.choice("head_options", name, choices)
    return module, module.Config(**fields, **dict(self.head_options))


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
    columns: of how many words each column is, whose combinations the marks are;
      none if they are no combinations. "density" has a head for each.
  """

  num_marks: int
  horizon: float
  log_mean: float
  log_deviation: float
  columns: tuple[int, ...] = ()

  def words(self) -> np.ndarray:
    """Returns which words a mark has, (words of all columns, marks)."""
    if not self.columns:
      return np.eye(self.num_marks, dtype=np.float32)
    each = np.unravel_index(np.arange(self.num_marks), self.columns)
    rows = [np.eye(n)[:, i] for n, i in zip(self.columns, each)]
    return np.concatenate(rows).astype(np.float32)


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
    mark_logits: (..., marks), given that gap where they depend on it.
  """

  gap: Mixture | event_rates.Hazard
  mark_logits: Array


class Memory(NamedTuple):
  """The state after an event, to go on from.

  Attributes:
    state: what predictions are made of, as from `EventNetwork.read`.
    carry: states of the network's layers; () of a model of `nn.intensities`.
  """

  state: PyTree
  carry: PyTree


class EventNetwork(linen.Module):
  """A sequence network over events, with heads for gap and mark.

  Attributes:
    config: the arm; its network does not pool.
    statistics: of the data.
  """

  config: ArmConfig
  statistics: Statistics

  def setup(self):
    """Declares what there are parameters of."""
    config, marks = self.config, self.statistics.num_marks
    if config.head in MODELS:
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
    self, events: Sequences, next_gap: Array, train: bool = False
  ) -> Prediction:
    """Predicts every event, and the one after the last, from those before it.

    Args:
      events: (*batch, events) arrays.
      next_gap: (*batch, events + 1), the gaps to predict, which the marks may
        depend on; all above 0.
      train: whether dropout is on, and integrals are by random points.

    Returns:
      The predictions, (*batch, events + 1, ...).
    """
    return self.predict(self.read(events, train), next_gap, train)

  def read(self, events: Sequences, train: bool = False) -> PyTree:
    """Returns the states before the first event, and after each.

    Returns:
      A pytree of arrays (*batch, events + 1, ...); where all states of a
      sequence share something, with 1 in the place of events + 1.
    """
    if self.config.head in MODELS:
      module, options = self.config.model(self.statistics.num_marks)
      rows = [(0, 0)] * (events.marks.ndim - 1)
      begin = self.statistics.num_marks
      marks = jnp.pad(events.marks, [*rows, (1, 0)], constant_values=begin)
      gaps = jnp.pad(self._scaled(events.gaps), [*rows, (1, 0)])
      states, _ = module.apply(options, self.process, marks, gaps)
      if train and getattr(states, "prompts", None) is not None:
        self._attract(options, states.prompts.cosine, events.lengths)
      return states
    outputs, _ = self.network(
      self._features(events), lengths=events.lengths + 1, train=train
    )
    return self._decoded(outputs)

  def fresh(self, batch_shape: tuple[int, ...] = ()) -> PyTree:
    """Returns the states that `go_on` begins with, before any event."""
    if self.config.head in MODELS:
      module, options = self.config.model(self.statistics.num_marks)
      return module.initial_state(options, self.process, batch_shape)
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
    """Predicts the event after each of some, which follow on others.

    Args:
      events: (*batch, events) arrays `gaps`, `times` and `marks`; where a
        sequence begins, the mark is the number of marks.
      next_gap: (*batch, events), the gaps to predict.
      carry: states after the events before, as from `fresh`.
      reset: (*batch, events) bool, where states are put back before an event.
      train: see `__call__`.

    Returns:
      The predictions (*batch, events, ...), and the states after the last.
    """
    num_marks = self.statistics.num_marks
    if self.config.head in MODELS:
      module, options = self.config.model(num_marks)
      gaps = self._scaled(events.gaps)
      states, carry = module.apply(
        options, self.process, events.marks, gaps, carry, reset
      )
    else:
      begin = (events.marks == num_marks)[..., None]
      lengths = jnp.zeros(events.gaps.shape[:-1], jnp.int32)
      rows = Sequences(events.gaps, events.times, events.marks, lengths)
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
      state: (...), as from `read`.
      next_gap: (...).
      train: whether integrals are by random points.
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
      state: (...), as from `read`.
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
      module, options = config.model(self.statistics.num_marks)
      rates = module.intensity(options, self.process, state, scaled)
    return rates / self._unit

  def bound(self, state: PyTree, elapsed: Array) -> Array:
    """Returns what the sum of intensities never exceeds from a time on, (...).

    Args:
      state: (...), as from `read`.
      elapsed: (...), since the last event.

    Raises:
      ValueError: if the intensities have no bound.
    """
    config, scaled = self.config, self._scaled(elapsed)
    if config.head == "intensity":
      top = decays.bound(self.read_out, state, scaled)
    elif config.head in MODELS:
      module, options = config.model(self.statistics.num_marks)
      top = module.bound(options, self.process, state, scaled)
    else:
      expected = f"one of 'intensity', {', '.join(map(repr, MODELS))}"
      raise _validate.error("head", config.head, expected)
    return top / self._unit

  def begin(self, batch_shape: tuple[int, ...] = ()) -> Memory:
    """Returns the memory of sequences before their first events."""
    carry = self.fresh(batch_shape)
    if self.config.head in MODELS:
      module, options = self.config.model(self.statistics.num_marks)
      begin = jnp.full(batch_shape, self.statistics.num_marks)
      gap = jnp.zeros(batch_shape)
      return Memory(module.step(options, self.process, begin, gap, carry), ())
    none = jnp.zeros((*batch_shape, 0))
    empty = Sequences(none, none, none.astype(jnp.int32), none)
    return self._next(self._features(empty)[..., 0, :], carry)

  def step(
    self, memory: Memory, gap: Array, time: Array, mark: Array
  ) -> Memory:
    """Takes one event of each sequence.

    Args:
      memory: (*batch, ...), as from `begin`.
      gap: (*batch,), since the event before.
      time: (*batch,), of the event.
      mark: (*batch,).
    """
    if self.config.head in MODELS:
      module, options = self.config.model(self.statistics.num_marks)
      gap = self._scaled(gap)
      state = module.step(options, self.process, mark, gap, memory.state)
      return Memory(state, ())
    one = Sequences(*(x[..., None] for x in (gap, time, mark)), gap)
    return self._next(self._features(one)[..., 1, :], memory.carry)

  def _next(self, features, carry):
    outputs, carry = self.network.step(features, carry)
    return Memory(self._decoded(outputs), carry)

  def _decoded(self, outputs):
    """The network's outputs in the form of a state."""
    if self.config.head == "intensity":
      return decays.decode(outputs)
    if self.config.head == "gompertz":
      rate = outputs[..., 0] - math.log(self._unit)
      slope = jnp.broadcast_to(self.slope / self._unit, rate.shape)
      return event_rates.Gompertz(rate, slope, outputs[..., 1:])
    return outputs

  def _attract(self, options, cosine, lengths):
    """Asks for keys of prompts that are close to what chose them at the end."""
    last = jnp.take_along_axis(cosine, lengths[..., None], axis=-1).sum()
    count = jnp.maximum(lengths.sum(), 1)
    self.sow("losses", "prompts", -options.attraction * last / count)

  def _words(self, one_hot):
    """The words of marks, a 1 for each column."""
    if not self.statistics.columns:
      return one_hot
    return one_hot @ self.statistics.words().T

  @property
  def _unit(self):
    """The time that is 1 to intensities: about a gap."""
    return math.exp(self.statistics.log_mean)

  def _scaled(self, gap):
    return gap / self._unit

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
        self._words(jax.nn.one_hot(events.marks, statistics.num_marks)),
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
      z = self._scaled_log(next_gap)[..., None]
      seen = linen.tanh(self.gap(z))
      hidden = state + self.gap_out(linen.tanh(state + self.gap_in(seen)))
    logits = self.marks(linen.tanh(hidden))
    if statistics.columns:
      # The softmax of such sums is the product of those of all columns.
      logits = logits @ statistics.words()
    return Prediction(gap, logits)

  def _scaled_log(self, gap):
    statistics = self.statistics
    return (jnp.log(gap) - statistics.log_mean) / statistics.log_deviation


def _bounded(scale):
  """Maps real numbers to the bounds of log scales, 0 to about -0.5."""
  low, high = _LOG_SCALE
  return low + (high - low) * jax.nn.sigmoid(scale + 1.5)
