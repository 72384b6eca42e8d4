"""The beta-VAE score: which factor do two batches have in common?

Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained
Variational Framework", ICLR 2017, section 3, as in disentanglement_lib.
"""

from typing import NamedTuple

import numpy as np

from jaxseq import _validate
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
    features, common = zip(
      *((beta_vae_features(*pair), factor) for *pair, factor in pieces)
    )
    points += [np.concatenate(features), np.concatenate(common)]
  return beta_vae_from_features(*points)


def beta_vae_features(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Returns mean distances of pairs, coordinate by coordinate: (V, D) float64.

  Of codes (V, b, D) and others that have one factor in common with them; a
  ValueError if shapes differ.
  """
  first, second = np.asarray(first, float), np.asarray(second, float)
  if first.ndim != 3 or first.shape != second.shape:
    shapes = f"shape {first.shape} and {second.shape}"
    raise _validate.error("codes", shapes, "(points, pairs, codes), both alike")
  return np.abs(first - second).mean(1)


def beta_vae_from_features(
  train_features: np.ndarray,
  train_factor: np.ndarray,
  evaluation_features: np.ndarray,
  evaluation_factor: np.ndarray,
) -> BetaVae:
  """Returns the score of recorded points.

  Args:
    train_features: (V, D) from `beta_vae_features`.
    train_factor: (V,) int, the factor in common.
    evaluation_features: (W, D).
    evaluation_factor: (W,) int.

  Raises:
    ValueError: shapes or dtypes do not fit, or all points have one factor.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  train = _arrays.code_array(train_features, "train_features")
  other = _arrays.code_array(evaluation_features, "evaluation_features")
  train_factor = _arrays.label_array(train_factor, len(train), "train_factor")
  evaluation_factor = _arrays.label_array(
    evaluation_factor, len(other), "evaluation_factor"
  )
  if np.ptp(train_factor) == 0:
    raise _validate.error("train_factor", train_factor, "at least two factors")
  model = _sklearn.load("linear_model").LogisticRegression()
  model.fit(train, train_factor)
  return BetaVae(
    float(model.score(train, train_factor)),
    float(model.score(other, evaluation_factor)),
  )
