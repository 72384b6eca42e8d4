"""The beta-VAE score: which factor do two batches have in common?

Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained
Variational Framework", ICLR 2017, section 3, as in disentanglement_lib.
"""

from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.dts import _arrays
from jaxseq.dts import _sklearn
from jaxseq.dts.metrics import _draws


class BetaVae(NamedTuple):
  """Accuracies of a linear classifier of the common factor.

  Attributes:
    train: on the points that it was trained on.
    evaluation: on other points: the score.
  """

  train: float
  evaluation: float


def beta_vae_from_table(
  codes: np.ndarray,
  factors: np.ndarray,
  *,
  train_points: int = 10_000,
  evaluation_points: int = 5_000,
  batch: int = 64,
  seed: int = 0,
) -> BetaVae:
  """Returns the score of codes whose factors are known.

  It is easy to satisfy: several codes for each factor reach 1, and so do codes
  that know nothing of one factor (Kim and Mnih, arXiv:1802.05983, section 4).

  Args:
    codes: (n, D) float.
    factors: (n, K) int, K >= 2.
    train_points: points that the classifier is trained on.
    evaluation_points: points that it is scored on.
    batch: pairs that a point is the mean of.
    seed: of the draws.

  Raises:
    ValueError: shapes or dtypes are wrong, or a factor is constant.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  codes, factors = _arrays.pair(codes, factors, factors_least=2)
  table, points = _draws.Table(codes, factors), []
  for pieces in _draws.in_pieces(
    table.pairs,
    np.random.default_rng(seed),
    batch,
    train_points=train_points,
    evaluation_points=evaluation_points,
  ):
    distances, common = zip(
      *((features(*pair), factor) for *pair, factor in pieces)
    )
    points += [np.concatenate(distances), np.concatenate(common)]
  return score(*points)


def features(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Returns mean distances (V, D) of pairs of codes (V, b, D)."""
  return np.abs(first - second).mean(1)


def score(
  train: np.ndarray,
  train_factor: np.ndarray,
  other: np.ndarray,
  other_factor: np.ndarray,
) -> BetaVae:
  """Returns the score of points (V, D) with the factors (V,) in common."""
  if np.ptp(train_factor) == 0:
    raise validate.error("train_factor", train_factor, "at least two factors")
  model = _sklearn.load("linear_model").LogisticRegression()
  model.fit(train, train_factor)
  return BetaVae(
    float(model.score(train, train_factor)),
    float(model.score(other, other_factor)),
  )
