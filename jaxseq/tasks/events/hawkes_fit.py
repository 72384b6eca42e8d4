"""Exponential Hawkes processes, fitted by maximum likelihood.

    packed = hawkes_fit.pack(events)
    fit = hawkes_fit.fit(packed, num_marks=3)
    fit.parameters.a, fit.errors.a, fit.log_likelihood

All sequences are concatenated in a single linear recurrence, which counts the
events of each mark with decay, and is reset at each sequence. For a fixed rate
b the likelihood is concave in mu and a. Not identified are b if a is 0, and b
if all gaps are much longer than 1 / b.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from jaxseq import recurrence
from jaxseq import validate
from jaxseq.data import point_processes

Array = jax.Array

# Initial values of b, in units of the mean rate of events.
_STARTS = (0.3, 1.0, 3.0)
# Lower bound of base intensities, in the same units, for finite logarithms.
_LEAST = 1e-9


class Parameters(NamedTuple):
  """Parameters of `data.point_processes.Hawkes`, or a value for each.

  Attributes:
    mu: (marks,).
    a: (marks, marks).
    b: ().
  """

  mu: Array
  a: Array
  b: Array


class Packed(NamedTuple):
  """Concatenated sequences.

  Attributes:
    gap: (events,) time since the previous event, or since the beginning.
    mark: (events,) integers.
    begin: (events,) bool, True at the first event of a sequence.
    rest: (events,) time from the event to the end of observation.
    observed: () total time of observation of all sequences.
  """

  gap: Array
  mark: Array
  begin: Array
  rest: Array
  observed: Array


class Fit(NamedTuple):
  """A fitted process.

  Attributes:
    parameters: arrays of float64.
    errors: their standard errors by the Hessian; NaN for fixed parameters, for
      those that are 0, at the bound, and if they were not computed.
    log_likelihood: of all sequences, in nats.
    spectral_radius: that of a; below 1 the expected total number of events that
      an event causes is finite.
  """

  parameters: Parameters
  errors: Parameters
  log_likelihood: float
  spectral_radius: float


def pack(
  events: point_processes.Events, until: np.ndarray | None = None
) -> Packed:
  """Concatenates sequences (n, events); those without events count, too.

  Args:
    events: sequences.
    until: (n,) end of observation of each; their horizon if None.
  """
  times = np.asarray(events.times, np.float64)
  if until is None:
    until = np.full(len(times), events.horizon)
  inside = np.arange(times.shape[1]) < np.asarray(events.lengths)[:, None]
  begin = np.zeros(times.shape, bool)
  begin[:, 0] = True
  arrays = (
    np.diff(times, axis=1, prepend=0.0),
    np.asarray(events.marks),
    begin,
    np.asarray(until)[:, None] - times,
  )
  observed = np.float64(np.sum(until))
  return Packed(*(x[inside] for x in arrays), observed)


def states(parameters: Parameters, packed: Packed) -> tuple[Array, Array]:
  """Returns decayed counts (events, marks), before and after each event."""
  one = jax.nn.one_hot(
    packed.mark, len(parameters.mu), dtype=parameters.mu.dtype
  )
  decay = jnp.exp(-parameters.b * packed.gap)[:, None]
  after, _ = recurrence.linear_scan(decay, one, reset=packed.begin)
  return after - one, after


def intensities(parameters: Parameters, packed: Packed) -> Array:
  """Returns the intensity (events,) of each event's mark, before it."""
  before, _ = states(parameters, packed)
  mu, a, b = parameters
  return mu[packed.mark] + b * jnp.sum(a[packed.mark] * before, axis=-1)


def compensators(parameters: Parameters, packed: Packed) -> Array:
  """Returns expected numbers (events, marks) of events since the previous one.

  Their sums over marks, the "rescaled gaps", are Exp(1) under the process, and
  so are their sums between two events of one mark.
  """
  before, after = states(parameters, packed)
  carried = jnp.roll(after, 1, axis=0)
  lost = jnp.where(packed.begin[:, None], 0, carried - before)
  return packed.gap[:, None] * parameters.mu + lost @ parameters.a.T


def log_likelihood(parameters: Parameters, packed: Packed) -> Array:
  """Returns the log likelihood () of all sequences, in nats.

  An event at time 0 begins the observation, and is not scored.
  """
  return _of_events(parameters, packed) - _integral(parameters, packed)


def em_step(parameters: Parameters, packed: Packed) -> Parameters:
  """Returns an exact step of expectation-maximization in mu and a.

  Each is multiplied by the ratio of its contributions to the log intensities
  and to the integral, which is cut at the end of observation.
  """
  seen = jax.grad(_of_events)(parameters, packed)
  due = jax.grad(_integral)(parameters, packed)
  mu, a = (
    old * up / down for old, up, down in zip(parameters[:2], seen, due[:2])
  )
  return Parameters(mu, a, parameters.b)


def fit(
  packed: Packed,
  num_marks: int,
  b: float | None = None,
  starts: Sequence[float] = _STARTS,
  *,
  errors: bool = True,
) -> Fit:
  """Fits a process by maximum likelihood, in float64.

  Args:
    packed: sequences with at least one event.
    num_marks: number of marks, each of which has an event.
    b: rate of decay; it is fitted, from several initial values, if None.
    starts: initial values of b, in units of the mean event rate; the best
      result is returned.
    errors: whether to compute standard errors; they are NaN otherwise.

  Raises:
    ValueError: if a mark has no event.
  """
  counts = np.bincount(packed.mark, minlength=num_marks)
  if not counts.all():
    mark = int(np.argmin(counts))
    raise ValueError(f"marks: got no event of mark {mark}, expected some.")
  # In units of the mean rate, so that the result does not depend on the unit.
  unit = float(packed.observed) / len(packed.gap)
  scaled = packed._replace(
    gap=np.asarray(packed.gap, np.float64) / unit,
    rest=np.asarray(packed.rest, np.float64) / unit,
    observed=np.float64(packed.observed / unit),
  )
  if b is not None:
    starts = (validate.above_zero("b", b) * unit,)
  with jax.enable_x64(True):
    ends = [_maximum(scaled, counts, start, b is not None) for start in starts]
    vector, value = min(ends, key=lambda end: end[1])
    spread = np.full(len(vector), np.nan)
    if errors:
      spread = _errors(vector, scaled, num_marks, b is not None)
  parameters = _rescaled(_unflatten(vector, num_marks), unit)
  radius = float(np.abs(np.linalg.eigvals(parameters.a)).max())
  value = -value - int(_scored(packed).sum()) * np.log(unit)
  return Fit(
    parameters, _rescaled(_unflatten(spread, num_marks), unit), value, radius
  )


def _scored(packed):
  """The mask (events,) of events with a density: not those at time 0."""
  return ~(packed.begin & (packed.gap <= 0))


def _of_events(parameters, packed):
  """The sum of log intensities at scored events."""
  intensity = intensities(parameters, packed)
  return jnp.sum(jnp.where(_scored(packed), jnp.log(intensity), 0))


def _integral(parameters, packed):
  """The expected number of events over the whole observation."""
  mu, a, b = parameters
  edge = -jnp.expm1(-b * packed.rest)
  return mu.sum() * packed.observed + jnp.sum(edge * a.sum(0)[packed.mark])


def _unflatten(vector, size):
  """The parameters in a vector (size + size**2 + 1,)."""
  mu, a, b = vector[:size], vector[size:-1], vector[-1]
  return Parameters(mu, a.reshape(size, size), b)


def _rescaled(parameters, unit):
  """Parameters, or errors, in another unit of time."""
  mu, a, b = parameters
  return Parameters(mu / unit, a, b / unit)


def _objective(vector, packed, size):
  """The negative log likelihood of a vector."""
  return -log_likelihood(_unflatten(vector, size), packed)


_value_and_slope = jax.jit(jax.value_and_grad(_objective), static_argnums=2)
_hessian = jax.jit(jax.jacrev(jax.grad(_objective)), static_argnums=2)


def _maximum(packed, counts, start, fixed):
  """The best vector from an initial b, and its negative log likelihood."""
  size = len(counts)
  rate = counts / packed.observed
  begin = np.concatenate([rate / 2, np.full(size * size, 0.5 / size), [start]])
  bounds = [(_LEAST, None)] * size + [(0, None)] * size**2
  bounds.append((start, start) if fixed else (1e-6, 1e6))

  def value(vector):
    nll, slope = _value_and_slope(vector, packed, size)
    return float(nll), np.asarray(slope)

  end = optimize.minimize(
    value,
    begin,
    jac=True,
    method="L-BFGS-B",
    bounds=bounds,
    options={"ftol": 1e-14, "gtol": 1e-8, "maxiter": 2000, "maxcor": 30},
  )
  return end.x, float(end.fun)


def _errors(vector, packed, size, fixed):
  """Standard errors of a vector, NaN at bounds."""
  hessian = np.asarray(_hessian(vector, packed, size))
  free = vector > np.where(np.arange(len(vector)) < size, 2 * _LEAST, 0)
  free[-1] = not fixed
  errors = np.full(len(vector), np.nan)
  covariance = np.linalg.pinv(hessian[np.ix_(free, free)], hermitian=True)
  errors[free] = np.sqrt(np.maximum(np.diag(covariance), 0))
  return errors
