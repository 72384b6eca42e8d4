"""Marked temporal point processes with a known likelihood.

A process simulates event sequences on (0, horizon] and computes the exact log
density of each event, log f(t_i, k_i | earlier events): the mean of its
negative is the lowest loss that a model can reach, in nats per event.

Sources: Ogata, IEEE Trans. Inf. Theory 27(1), 1981 (thinning); the four
processes are those commonly simulated, as in arXiv 1705.08051.
"""

import dataclasses
import functools
import math
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import padding


class Events(NamedTuple):
  """Event sequences, padded at their ends with zeros.

  Attributes:
    times: (n, events) float64, increasing, in (0, horizon].
    marks: (n, events) int32.
    lengths: (n,) int32.
    horizon: end of observation of the sequences.
  """

  times: np.ndarray
  marks: np.ndarray
  lengths: np.ndarray
  horizon: float


class LogDensity(NamedTuple):
  """Exact log likelihood of event sequences.

  Attributes:
    events: (n, events) float64, log f(t_i, k_i | the events before); 0 in
      padding.
    tail: (n,) float64, log probability of no event between the last one and the
      horizon.
  """

  events: np.ndarray
  tail: np.ndarray


@dataclasses.dataclass(frozen=True)
class Hawkes:
  """A Hawkes process: events excite further events.

  intensity_k(t) = mu_k + sum over events (t_i, k_i) before t of
    a[k, k_i] b exp(-b (t - t_i)).

  Attributes:
    mu: base intensity of each of the K marks.
    a: K x K; in row k and column j the mean number of events k that an event j
      excites.
    b: rate at which the excitation decays.
  """

  mu: tuple[float, ...] = (0.2, 0.15, 0.1)
  a: tuple[tuple[float, ...], ...] = (
    (0.3, 0.1, 0.0),
    (0.2, 0.3, 0.1),
    (0.0, 0.2, 0.3),
  )
  b: float = 1.5

  def __post_init__(self):
    validate.above_zero("b", self.b)
    size = len(self.mu)
    if not size or min(self.mu) < 0 or not sum(self.mu) > 0:
      raise validate.error("mu", self.mu, "non-negative, with a positive sum")
    matrix = np.array(self.a, float)
    if matrix.shape != (size, size) or matrix.min() < 0:
      expected = f"{size} x {size}, as long as mu, and non-negative"
      raise validate.error("a", self.a, expected)
    radius = np.abs(np.linalg.eigvals(matrix)).max()
    if radius >= 1:
      raise ValueError(
        f"a: got {radius:.3f}, expected a spectral radius below 1, or events "
        "never cease to cause events."
      )

  @property
  def num_marks(self) -> int:
    """Number of marks."""
    return len(self.mu)

  @property
  def _jumps(self):
    """The intensities (marks, marks) that an event of each mark adds."""
    return np.array(self.a).T * self.b

  def simulate(
    self,
    rng: np.random.Generator,
    count: int,
    horizon: float,
    excitation: np.ndarray | None = None,
  ) -> Events:
    """Simulates sequences by thinning, without discretization error.

    Args:
      rng: random generator.
      count: number of sequences.
      horizon: end of observation.
      excitation: (count, marks), excitation at time 0 that earlier events left,
        see `excitation`; 0 if None.
    """
    mu, jumps = np.array(self.mu), self._jumps
    clock = np.zeros(count)
    if excitation is None:
      excitation = np.zeros((count, len(mu)))
    excitation = np.array(excitation, np.float64)
    events = [[] for _ in range(count)]
    active = np.arange(count)
    while len(active):
      # Between events the intensity decreases, so its current value bounds it.
      bound = mu.sum() + excitation[active].sum(axis=1)
      gap = rng.exponential(size=len(active)) / bound
      clock[active] += gap
      excitation[active] *= np.exp(-self.b * gap)[:, None]
      cumulative = np.cumsum(mu + excitation[active], axis=1)
      level = rng.uniform(size=len(active)) * bound
      inside = clock[active] <= horizon
      accepted = inside & (level < cumulative[:, -1])
      marks = np.sum(level[:, None] >= cumulative[:, :-1], axis=1)
      rows = active[accepted]
      excitation[rows] += jumps[marks[accepted]]
      for row, mark in zip(rows, marks[accepted]):
        events[row].append((clock[row], mark))
      active = active[inside]
    return _events(events, horizon)

  def log_density(self, events: Events) -> LogDensity:
    """Returns the exact log density of each event.

    Args:
      events: sequences that start without any event before time 0.

    Returns:
      The log density.
    """
    mu, jumps = np.array(self.mu), self._jumps
    times, marks, lengths, horizon = events
    rows = np.arange(len(times))
    last = np.zeros(len(times))
    excitation = np.zeros((len(times), len(mu)))
    densities = np.zeros(times.shape)

    def expected(gap):
      decay = -np.expm1(-self.b * gap) / self.b
      return mu.sum() * gap + excitation.sum(axis=1) * decay

    for i in range(times.shape[1]):
      inside = i < lengths
      gap = np.where(inside, times[:, i] - last, 0)
      compensator = expected(gap)
      excitation *= np.exp(-self.b * gap)[:, None]
      intensity = (mu + excitation)[rows, marks[:, i]]
      densities[inside, i] = (np.log(intensity) - compensator)[inside]
      excitation += jumps[marks[:, i]] * inside[:, None]
      last = np.where(inside, times[:, i], last)
    return LogDensity(densities, -expected(horizon - last))

  def excitation(self, events: Events) -> np.ndarray:
    """Returns the excitation after each event, (n, events, marks).

    That is the intensity right after an event, without the base intensity.
    """
    return excitation(self.a, self.b, events)


def excitation(a: Any, b: float, events: Events) -> np.ndarray:
  """Returns the excitation after each event, see `Hawkes.excitation`.

  Args:
    a: as in `Hawkes`, with any spectral radius.
    b: as in `Hawkes`.
    events: sequences.
  """
  added = (np.array(a).T * b)[events.marks]
  # In the padding time would run backward, and the excitation grow.
  gaps = np.maximum(np.diff(events.times, axis=1, prepend=0.0), 0)
  decay = np.exp(-b * gaps)
  states = np.zeros((*events.times.shape, len(a)))
  state = states[:, 0]
  for i in range(events.times.shape[1]):
    state = state * decay[:, i, None] + added[:, i]
    states[:, i] = state
  return states


@dataclasses.dataclass(frozen=True)
class Poisson:
  """Independent events at the rate base + swing sin(2 pi t / period).

  Attributes:
    base: mean rate.
    swing: half the difference between the highest and the lowest rate, less
      than base.
    period: period of the rate.
  """

  base: float = 1.0
  swing: float = 0.8
  period: float = 10.0

  num_marks = 1

  def __post_init__(self):
    validate.fields(self, above_zero=("base", "period"))
    if not 0 <= self.swing < self.base:
      expected = f"at least 0 and less than base = {self.base}"
      raise validate.error("swing", self.swing, expected)

  def _rate(self, t):
    return self.base + self.swing * np.sin(2 * np.pi * t / self.period)

  def _integral(self, t):
    angle = 2 * np.pi / self.period
    return self.base * t + self.swing * (1 - np.cos(angle * t)) / angle

  def simulate(
    self, rng: np.random.Generator, count: int, horizon: float
  ) -> Events:
    """Simulates sequences by thinning; see `Hawkes.simulate`."""
    top = self.base + self.swing
    events = []
    for number in rng.poisson(top * horizon, count):
      times = np.sort(horizon * (1 - rng.uniform(size=number)))
      accepted = rng.uniform(size=number) * top < self._rate(times)
      events.append([(time, 0) for time in times[accepted]])
    return _events(events, horizon)

  def log_density(self, events: Events) -> LogDensity:
    """Returns the exact log density of each event."""
    before, last, inside = _before(events)
    times = np.where(inside, events.times, 0)
    expected = self._integral(times) - self._integral(before)
    densities = np.where(inside, np.log(self._rate(times)) - expected, 0)
    tail = self._integral(last) - self._integral(events.horizon)
    return LogDensity(densities, tail)


@dataclasses.dataclass(frozen=True)
class Renewal:
  """Independent gaps from a gamma distribution with integer shape.

  Attributes:
    shape: shape of the distribution, an integer; 1 is a Poisson process.
    rate: rate of the distribution; the mean gap is shape / rate.
  """

  shape: int = 3
  rate: float = 3.0

  num_marks = 1

  def __post_init__(self):
    validate.fields(self, above_zero=("rate",), positive=("shape",))

  def simulate(
    self, rng: np.random.Generator, count: int, horizon: float
  ) -> Events:
    """Simulates sequences; see `Hawkes.simulate`."""
    events = []
    for _ in range(count):
      clock, sequence = 0.0, []
      while (clock := clock + rng.gamma(self.shape) / self.rate) <= horizon:
        sequence.append((clock, 0))
      events.append(sequence)
    return _events(events, horizon)

  def log_density(self, events: Events) -> LogDensity:
    """Returns the exact log density of each event."""
    before, last, inside = _before(events)
    x = np.where(inside, (events.times - before) * self.rate, 1)
    densities = np.log(self.rate) + (self.shape - 1) * np.log(x) - x
    densities -= math.lgamma(self.shape)
    x = (events.horizon - last) * self.rate
    # The probability of fewer than `shape` events of a Poisson process.
    survival = sum(x**k / math.factorial(k) for k in range(self.shape))
    return LogDensity(np.where(inside, densities, 0), np.log(survival) - x)


@dataclasses.dataclass(frozen=True)
class SelfCorrecting:
  """Events that inhibit further events: intensity exp(rise t - drop N(t)).

  Attributes:
    rise: rate at which the log intensity rises.
    drop: decrease of the log intensity at each event.
  """

  rise: float = 0.5
  drop: float = 0.2

  num_marks = 1

  def __post_init__(self):
    validate.fields(self, above_zero=("rise", "drop"))

  def simulate(
    self, rng: np.random.Generator, count: int, horizon: float
  ) -> Events:
    """Simulates sequences by inversion; see `Hawkes.simulate`."""
    clock = np.zeros(count)
    events = [[] for _ in range(count)]
    active = np.arange(count)
    number = 0
    while len(active):
      # The integrated intensity up to the next event is exponential.
      level = rng.exponential(size=len(active))
      log_now = self.rise * clock[active] - self.drop * number
      gap = np.log1p(self.rise * level * np.exp(-log_now)) / self.rise
      clock[active] += gap
      active = active[clock[active] <= horizon]
      for row in active:
        events[row].append((clock[row], 0))
      number += 1
    return _events(events, horizon)

  def log_density(self, events: Events) -> LogDensity:
    """Returns the exact log density of each event."""
    before, last, inside = _before(events)
    numbers = np.arange(events.times.shape[1])

    def expected(start, end, number):
      log_start = self.rise * start - self.drop * number
      return np.exp(log_start) * np.expm1(self.rise * (end - start)) / self.rise

    times = np.where(inside, events.times, before)
    log_intensity = self.rise * times - self.drop * numbers
    densities = log_intensity - expected(before, times, numbers)
    tail = -expected(last, events.horizon, events.lengths)
    return LogDensity(np.where(inside, densities, 0), tail)


PROCESSES = {
  "hawkes": Hawkes,
  "poisson": Poisson,
  "renewal": Renewal,
  "self_correcting": SelfCorrecting,
}


def _events(sequences, horizon):
  """Pads lists of (time, mark) to `Events`."""
  rows = [np.array(row, float).reshape(-1, 2) for row in sequences]
  padded, lengths = padding.pad_sequences(rows, max(1, *map(len, rows), 0))
  return Events(
    padded[..., 0], padded[..., 1].astype(np.int32), lengths, float(horizon)
  )


def _before(events):
  """Times before each event, and of the last event; and the mask of events."""
  inside = np.arange(events.times.shape[1]) < events.lengths[:, None]
  times = np.where(inside, events.times, 0)
  before = np.pad(times, ((0, 0), (1, 0)))[:, :-1]
  return np.maximum.accumulate(before, axis=1), times.max(axis=1), inside


def load(
  process: str | Hawkes | Poisson | Renewal | SelfCorrecting = "hawkes",
  seed: int = 0,
  train: int = 2000,
  valid: int = 300,
  test: int = 300,
  horizon: float = 50.0,
) -> datasets.Splits:
  """Simulates a data set of event sequences.

  Args:
    process: the process, or its name with the parameters of the reference set.
    seed: seed; each part has its own random stream.
    train: number of training sequences.
    valid: number of validation sequences.
    test: number of test sequences.
    horizon: end of observation of each sequence.

  Returns:
    The splits. Inputs (n, events, 1) are the gaps since the event before, or
    since time 0; targets (n, events) the marks. extras: times (n, events),
    log_density (n, events) and tail (n,), see `LogDensity`. info has horizon
    and nats_per_event, the true negative log density per event of each part.

  Raises:
    ValueError: if a name or number is out of range.
  """
  if isinstance(process, str):
    process = PROCESSES[validate.choice("process", process, PROCESSES)]()
  validate.above_zero("horizon", horizon)
  counts = {"train": train, "valid": valid, "test": test}
  validate.all_positive(**counts)
  events = {
    name: process.simulate(np.random.default_rng([seed, i]), count, horizon)
    for i, (name, count) in enumerate(counts.items())
  }
  # One time axis for all parts: a model is compiled once.
  longest = max(part.times.shape[1] for part in events.values())
  parts, nats = {}, {}
  for name, part in events.items():
    density = process.log_density(part)
    parts[name] = _dataset(part, density, longest)
    nats[name] = -density.events.sum() / max(part.lengths.sum(), 1)
  info = datasets.Info(
    description="Event times and marks; when and what is the next event?",
    source="simulated by thinning or inversion, without discretization",
    license="none needed",
    num_classes=process.num_marks,
    horizon=float(horizon),
    nats_per_event=nats,
  )
  return datasets.Splits(**parts, info=info)


def _dataset(events, density, longest):
  before, _, inside = _before(events)
  gaps = np.where(inside, events.times - before, 0)

  def pad(array):
    return np.pad(array, ((0, 0), (0, longest - array.shape[1])))

  times, gaps, log_density = (
    pad(x).astype(np.float32) for x in (events.times, gaps, density.events)
  )
  tail = density.tail.astype(np.float32)
  extras = datasets.Extras(times=times, log_density=log_density, tail=tail)
  return datasets.ArrayDataset(
    gaps[..., None], pad(events.marks), events.lengths, extras
  )


# The reference sets by name, for the registry.
hawkes = functools.partial(load, "hawkes")
poisson = functools.partial(load, "poisson")
renewal = functools.partial(load, "renewal")
self_correcting = functools.partial(load, "self_correcting")
