"""Distributions of the next gap from intensities, and their integrals.

The hazard rate of the next event is the sum of the intensities, and the
probability of no event until then is exp(-integral). In training the integral
is an average over random points, one in each of equal parts of the gap (fixed
points can be exploited: the intensity becomes low there and high at events); in
evaluations it is a quadrature with many nodes.
"""

from collections.abc import Callable
import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
# From times (..., n) since the last event to intensities (..., n, marks).
Rates = Callable[[Array], Array]

# Points of the coarse integral, which reveals effects of a grid.
COARSE = 20
# Maximum number of points at once in evaluations: intensities take memory.
_AT_ONCE = 20
# Number of times in the table for quantiles and means.
_TABLE = 120
# Start of the table, in deviations of log gaps below their mean.
_BELOW = 5.0
_LEAST = 1e-30


class Hazard(NamedTuple):
  """The distribution of a gap, evaluated at one gap.

  Attributes:
    log_rate: (..., 1), logarithm of the rate of events at that gap.
    total: (..., 1), integral of the rate up to it.
    coarse: (..., 1), the same by the trapezoidal rule with `COARSE` points.
    times: (..., n), from 0 on.
    table: (..., n), integrals of the rate up to these times.
  """

  log_rate: Array
  total: Array
  coarse: Array
  times: Array
  table: Array

  def log_density(self, gap: Array) -> Array:
    """Returns log f(gap), (...), at the gap of this evaluation."""
    del gap
    return (self.log_rate - self.total)[..., 0]

  def log_survival(self, gap: Array) -> Array:
    """Returns log P(next gap > gap), (...), at the same gap."""
    del gap
    return -self.total[..., 0]

  def expectation(self) -> Array:
    """Returns the mean of the gap, cut at the last of `times`."""
    rise = jnp.diff(self.table)
    # The rate is assumed to be constant between two times.
    share = jnp.where(rise > 1e-4, -jnp.expm1(-rise) / (rise + 1e-30), 1.0)
    cells = jnp.exp(-self.table[..., :-1]) * jnp.diff(self.times) * share
    return cells.sum(axis=-1)

  def expectation_until(self, limit: float) -> Array:
    """Returns `expectation`, as the table ends at this limit."""
    del limit
    return self.expectation()

  def bounded_expectation(self, limit: float) -> Array:
    """Returns `expectation`, as the table ends at this limit."""
    del limit
    return self.expectation()

  def quantile(self, level: float) -> Array:
    """Returns quantiles (...) of the gap at a level."""
    goal = -math.log1p(-level)
    index = (self.table < goal).sum(axis=-1, keepdims=True)
    index = jnp.clip(index, 1, self.table.shape[-1] - 1)

    def at(x, index):
      return jnp.take_along_axis(x, index, axis=-1)[..., 0]

    low, high = at(self.table, index - 1), at(self.table, index)
    start, end = at(self.times, index - 1), at(self.times, index)
    slope = (end - start) / jnp.maximum(high - low, _LEAST)
    # After the table the rate is assumed to stay constant.
    return start + (goal - low) * slope


def table_times(
  log_mean: float, log_deviation: float, horizon: float
) -> np.ndarray:
  """Returns the times of tables, (n,), denser for short gaps."""
  low = min(log_mean - _BELOW * log_deviation, math.log(horizon) - 1)
  rest = np.exp(np.linspace(low, math.log(horizon), _TABLE - 1))
  return np.concatenate([[0.0], rest]).astype(np.float32)


def evaluated(rates: Rates, gap: Array, points: int, times: Array) -> Hazard:
  """Returns the distribution by quadrature.

  Args:
    rates: the intensities.
    gap: (...), above 0.
    points: Gauss-Legendre nodes of the integral up to the gap.
    times: (n,) times of the table.
  """
  node, weight = np.polynomial.legendre.leggauss(points)
  coarse = np.linspace(0, 1, COARSE)
  total = _sums(rates, gap, np.concatenate([0.5 * node + 0.5, coarse]))
  fine, coarse = total[..., :points], total[..., points:]
  mean = 0.5 * (coarse[..., 1:] + coarse[..., :-1]).mean(axis=-1, keepdims=True)
  gap = gap[..., None]
  speed = _sums(rates, jnp.ones_like(gap[..., 0]), np.asarray(times))
  cells = 0.5 * (speed[..., 1:] + speed[..., :-1]) * np.diff(times)
  table = jnp.pad(jnp.cumsum(cells, -1), [(0, 0)] * (gap.ndim - 1) + [(1, 0)])
  return Hazard(
    log_rate(rates(gap)),
    gap * (fine * (0.5 * weight).astype(fine.dtype)).sum(-1, keepdims=True),
    gap * mean,
    jnp.broadcast_to(jnp.asarray(times, table.dtype), table.shape),
    table,
  )


def sampled(rates: Rates, gap: Array, points: int, key: Array) -> Hazard:
  """Returns the distribution with an integral by random points, and no table.

  Args:
    rates: the intensities.
    gap: (...), above 0.
    points: number of points, one in each of equal parts of the gap.
    key: key of the points.
  """
  shift = jax.random.uniform(key, (*gap.shape, points), gap.dtype)
  part = (jnp.arange(points) + shift) / points
  gap = gap[..., None]
  total = gap * rates(gap * part).sum(axis=-1).mean(axis=-1, keepdims=True)
  empty = jnp.zeros((*gap.shape[:-1], 2), gap.dtype)
  return Hazard(log_rate(rates(gap)), total, total, empty, empty)


def log_rate(rates: Array) -> Array:
  """Returns logarithms (...) of the sums of intensities (..., marks)."""
  return safe_log(rates.sum(axis=-1))


def safe_log(x: Array) -> Array:
  """Returns the logarithm, finite at 0."""
  return jnp.log(jnp.maximum(x, _LEAST))


def _sums(rates, gap, nodes):
  """Sums of intensities (..., n) at `nodes` (n,) times the gaps (...)."""
  count = len(nodes)
  groups = -(-count // _AT_ONCE)
  nodes = np.pad(nodes, (0, groups * _AT_ONCE - count)).reshape(groups, -1)

  def one(nodes):
    return rates(gap[..., None] * nodes).sum(axis=-1)

  sums = lax.map(one, jnp.asarray(nodes, gap.dtype))
  sums = jnp.moveaxis(sums, 0, -2)
  return sums.reshape(*gap.shape, -1)[..., :count]


class Gompertz(NamedTuple):
  """Intensities p_k exp(a + w t) after an event, as in RMTPP.

  Du et al., "Recurrent marked temporal point processes", KDD 2016.

  Attributes:
    log_start: (...), a.
    slope: (...), w.
    mark_logits: (..., marks), of p.
  """

  log_start: Array
  slope: Array
  mark_logits: Array

  def total(self, elapsed: Array) -> Array:
    """Returns integrals (..., n) of the sum up to times (..., n)."""
    start, slope = self.log_start[..., None], self.slope[..., None]
    return jnp.exp(start) * elapsed * _ratio(jnp.expm1, slope * elapsed, 0.5)

  def intensity(self, elapsed: Array) -> Array:
    """Returns intensities (..., n, marks) at times (..., n)."""
    log_rate = self.log_start[..., None] + self.slope[..., None] * elapsed
    marks = jax.nn.softmax(self.mark_logits)
    return jnp.exp(log_rate)[..., None] * marks[..., None, :]

  def hazard(self, gap: Array, times: Array) -> Hazard:
    """Returns the distribution of a gap, with exact integrals."""
    total = self.total(gap[..., None])
    log_rate = (self.log_start + self.slope * gap)[..., None]
    times = jnp.broadcast_to(
      jnp.asarray(times, gap.dtype), (*gap.shape, len(times))
    )
    return Hazard(log_rate, total, total, times, self.total(times))

  def gap_at(self, level: Array) -> Array:
    """Returns the gaps (...) at which the integral reaches `level`, or inf."""
    # With a falling rate the integral may never reach it.
    x = self.slope * level * jnp.exp(-self.log_start)
    ratio = _ratio(lambda x: jnp.log1p(jnp.maximum(x, -1.0)), x, -0.5)
    gap = level * jnp.exp(-self.log_start) * ratio
    return jnp.where(x > -1, gap, jnp.inf)


def _ratio(function, x, slope):
  """Returns function(x) / x, linearized near 0."""
  flat = jnp.abs(x) < 1e-4
  safe = jnp.where(flat, 1.0, x)
  return jnp.where(flat, 1 + slope * x, function(safe) / safe)
