"""Interventional robustness score.

Suter et al., "Robustly Disentangled Causal Mechanisms", arXiv:1811.00007,
section 4, as in disentanglement_lib.
"""

from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.dts import _arrays
from jaxseq.dts.metrics import _information


class Irs(NamedTuple):
  """The score and what it is made of.

  Attributes:
    score: mean of `per_code`, weighted by `deviations`.
    matrix: (D', K) robustness of code d while factor k is held.
    per_code: (D',) the largest entry of each row.
    deviations: (D',) largest distance of a code from its mean.
    active: (D,) bool: the codes that vary, which the D' are.
  """

  score: float
  matrix: np.ndarray
  per_code: np.ndarray
  deviations: np.ndarray
  active: np.ndarray


def irs(
  codes: np.ndarray,
  factors: np.ndarray,
  *,
  bins: int = 20,
  quantile: float = 0.99,
) -> Irs:
  """Returns the interventional robustness score of codes and factors.

  For each level of a factor: the quantile of a code's distances from its mean
  within the level. The score is 1 minus the mean of these over levels, relative
  to the code's largest distance from its global mean. A noise code also has a
  positive score (about 0.2), as no quantile reaches the largest distance.

  Factors are binned like codes first, which joins levels if there are more than
  `bins`.

  Args:
    codes: (n, D) float. Codes that do not vary are left out.
    factors: (n, K) int.
    bins: number of bins of a factor.
    quantile: of the distances, in (0, 1].

  Raises:
    ValueError: shapes or dtypes are wrong, a factor is constant, or no code
      varies.
  """
  codes, factors = _arrays.pair(codes, factors)
  validate.fraction("quantile", quantile)
  active = _arrays.varying(codes)
  codes = codes[:, active]
  levels = _information.discretize(factors, bins)
  deviations = np.abs(codes - codes.mean(0)).max(0)
  matrix = np.empty((codes.shape[1], factors.shape[1]))
  for k, column in enumerate(levels.T):
    held = []
    for level in np.unique(column):
      rows = codes[column == level]
      distances = np.abs(rows - rows.mean(0))
      held.append(np.quantile(distances, quantile, axis=0))
    matrix[:, k] = 1.0 - np.mean(held, axis=0) / deviations
  per_code = matrix.max(1)
  score = float(np.average(per_code, weights=deviations))
  return Irs(score, matrix, per_code, deviations, active)
