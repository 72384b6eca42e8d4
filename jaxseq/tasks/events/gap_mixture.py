"""Mixtures of log-normal distributions of gaps between events.

They are those of Shchur et al. (arXiv:1909.12127).
"""

import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

Array = jax.Array

# Bisection steps on log gaps: more than float32 can resolve.
_HALVINGS = 40


class Mixture(NamedTuple):
  """Mixture of log-normal distributions of a gap.

  Attributes:
    log_weight: (..., components), normalized.
    mean: (..., components), mean of the logarithm of the gap.
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

  def bounded_expectation(self, limit: float) -> Array:
    """Returns `expectation_until`, for reports.

    It is NaN if the longest hundredth of the gaps makes up more than half of
    it: such a mean depends on a guess about the tail, far from any usual gap.
    """
    usual = jnp.minimum(self.quantile(0.99), limit)
    mean, within = self.expectation_until(limit), self.expectation_until(usual)
    return jnp.where(mean <= 2 * within, mean, jnp.nan)

  def expectation_until(self, limit: Array | float) -> Array:
    """Returns the mean (...) of the gap or `limit`, whichever comes first."""
    scale = jnp.exp(self.log_scale)
    z = (jnp.log(limit)[..., None] - self.mean) / scale
    below = self.mean + 0.5 * scale**2 + jax.scipy.special.log_ndtr(z - scale)
    above = jnp.log(limit)[..., None] + jax.scipy.special.log_ndtr(-z)
    each = self.log_weight + jnp.logaddexp(below, above)
    return jnp.exp(jax.nn.logsumexp(each, axis=-1))

  def quantile(self, level: float) -> Array:
    """Returns quantiles (...) of the gap at a level."""
    # The mixture's quantile lies between the least and the greatest quantile
    # of its components.
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
