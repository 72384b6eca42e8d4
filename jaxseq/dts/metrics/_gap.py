"""Information gap between the two best codes for each factor."""

import numpy as np

from jaxseq.dts import _arrays
from jaxseq.dts.metrics import _information


def top_two_gap(matrix: np.ndarray) -> np.ndarray:
  """Returns the largest less the second largest entry of each column, (K,).

  Of a matrix (D, K), D >= 2: how much code d says about factor k. A ValueError
  if it has another shape or a negative entry.
  """
  ordered = np.sort(_arrays.matrix(matrix, "matrix", rows=2), axis=0)
  return ordered[-1] - ordered[-2]


def mig(codes: np.ndarray, factors: np.ndarray, bins: int = 20) -> float:
  """Returns the mutual information gap, in 0 .. 1.

  Chen et al., "Isolating Sources of Disentanglement in Variational
  Autoencoders", arXiv:1802.04942, section 4, as in disentanglement_lib:

      mean_k (m[(1), k] - m[(2), k]) / H(v_k)

  with the largest and second largest mutual information of a binned code with
  factor k. 1 is best.

  Hand in the means of q(z|x), not samples, of windows that were not trained
  on, and 10,000 of them: the plug-in estimate gives noise codes information
  that they do not have (`information_bias`), which closes the gap.

  Args:
    codes: (n, D) float, D >= 2.
    factors: (n, K) int.
    bins: number of bins of a code.

  Raises:
    ValueError: shapes or dtypes are wrong, or a factor is constant.
  """
  return float(mig_per_factor(codes, factors, bins).mean())


def mig_per_factor(
  codes: np.ndarray, factors: np.ndarray, bins: int = 20
) -> np.ndarray:
  """Returns the gap of `mig` for each factor: (K,) float64 in 0 .. 1.

  Arguments and errors are those of `mig`.
  """
  codes, factors = _arrays.pair(codes, factors, codes_least=2)
  matrix = _information.information_matrix(codes, factors, bins)
  return top_two_gap(matrix) / _information.entropies(factors)
