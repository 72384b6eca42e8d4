"""Entropies of the aggregate posterior, and the gap that comes from them.

The exact mixtures of the sample version of the mutual information gap: Chen et
al., arXiv:1802.04942, appendix C, as in rtqichen/beta-tcvae
(`metric_helpers/mi_metric.py`).
"""

import math
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.dts import _arrays
from jaxseq.dts.metrics import _gap

# Numbers in the largest temporary array: 2 MB of float64, which caches hold.
_PIECE = 250_000


class PosteriorGap(NamedTuple):
  """The gap and what it is made of.

  Attributes:
    score: mean over factors of the gap.
    information: (D, K) I(z_d; v_k), nats, neither clipped nor normalized.
    marginal: (D,) H(z_d), nats.
    conditional: (D, K) mean over levels of H(z_d | v_k = level), nats.
  """

  score: float
  information: np.ndarray
  marginal: np.ndarray
  conditional: np.ndarray


def posterior_mig(
  mu: np.ndarray, logvar: np.ndarray, z: np.ndarray, factors: np.ndarray
) -> PosteriorGap:
  """Returns the sample version of the mutual information gap.

  I(z_d; v_k) = H(z_d) - mean over levels of H(z_d | v_k = level), each entropy
  under the mixture of the rows concerned; clipped at 0, divided by the
  logarithm of the number of levels, and the mean gap between the two largest.
  It takes n^2 D densities, in small pieces: with 10,000 rows about half a
  second for each coordinate.

  The mean over levels has no weights, so the factors must be balanced: every
  level as often as every other, best the full grid. A level's mixture has only
  its own n / levels rows, one of which z comes from; with few rows this bias
  is larger than that of H(z_d), and the information too high.

  Args:
    mu: (n, D) float, D >= 2.
    logvar: (n, D) float, logarithms of variances.
    z: (n, D) float, one draw from each row.
    factors: (n, K) int.

  Returns:
    The score and its parts.

  Raises:
    ValueError: shapes or dtypes are wrong, or a factor is constant.
  """
  mu, logvar, z = _gaussians(mu, logvar, z, least=2)
  factors = _arrays.factor_array(factors, len(z))
  marginal = _entropies(mu, logvar, z)
  conditional = np.empty((z.shape[1], factors.shape[1]))
  sizes = np.empty(factors.shape[1])
  for k, column in enumerate(factors.T):
    levels = np.unique(column)
    sizes[k] = len(levels)
    members = [column == level for level in levels]
    conditional[:, k] = np.mean(
      [_entropies(mu[m], logvar[m], z[m]) for m in members], axis=0
    )
  information = marginal[:, None] - conditional
  normalized = np.maximum(information, 0.0) / np.log(sizes)
  return PosteriorGap(
    float(_gap.top_two_gap(normalized).mean()),
    information,
    marginal,
    conditional,
  )


def _gaussians(mu, logvar, z, least=1):
  mu = _arrays.code_array(mu, "mu", least)
  logvar = _arrays.code_array(logvar, "logvar")
  z = _arrays.code_array(z, "z")
  if not mu.shape == logvar.shape == z.shape:
    shapes = f"shape {mu.shape}, {logvar.shape} and {z.shape}"
    raise validate.error("mu, logvar and z", shapes, "one shape")
  return mu, logvar, z


def _entropies(mu, logvar, z) -> np.ndarray:
  """Returns the entropy (D,) of each coordinate of the aggregate posterior."""
  # -mean_i log q(z_i,d) with q(z_d) = 1/n sum_j N(mu_j,d, sigma^2_j,d). Each z
  # comes from a component of the mixture, and its own component is among the n:
  # that lowers the estimate, the more the fewer rows there are.
  totals = np.zeros(z.shape[1])
  # Pieces of rows are small beside all columns.
  size = max(1, _PIECE // len(mu))
  for d in range(len(totals)):
    for first in range(0, len(z), size):
      piece = z[first : first + size, d]
      totals[d] -= _log_sum_exp(
        _log_density(piece, mu[:, d], logvar[:, d])
      ).sum()
  return totals / len(z) + math.log(len(mu))


def _log_density(z, mu, logvar) -> np.ndarray:
  """Returns log N(z_i; mu_j, exp(logvar_j)), (i, j)."""
  out = z[:, None] - mu
  # In place: memory is what this takes its time for.
  np.square(out, out=out)
  out *= -0.5 * np.exp(-logvar)
  out -= 0.5 * (logvar + math.log(2 * math.pi))
  return out


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
  """Returns the logarithm of each row's sum of exponentials; eats its input."""
  largest = values.max(axis=1, keepdims=True)
  values -= largest
  np.exp(values, out=values)
  return np.log(values.sum(axis=1)) + largest[:, 0]
