"""The FactorVAE score: which code moves least while a factor is held.

Kim and Mnih, "Disentangling by Factorising", arXiv:1802.05983, section 4, as in
disentanglement_lib.
"""

from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.dts import _arrays
from jaxseq.dts.metrics import _draws


class FactorVae(NamedTuple):
  """The score and what it is made of.

  Attributes:
    train: accuracy of the majority vote on the votes that it was made from.
    evaluation: accuracy on other votes: the score.
    active: (D,) bool, the codes whose standard deviation is large enough.
    classifier: (D,) the factor that each code stands for; 0 without a vote.
    train_votes: (K, D) how often code d moved least while factor k was held.
    evaluation_votes: (K, D), the same.
  """

  train: float
  evaluation: float
  active: np.ndarray
  classifier: np.ndarray
  train_votes: np.ndarray
  evaluation_votes: np.ndarray


class Votes:
  """Votes of batches for the code that moves least in them."""

  def __init__(
    self, num_factors: int, variances: np.ndarray, least_deviation: float
  ):
    self.num_factors = num_factors
    self.variances = variances
    self.active = np.sqrt(variances) >= least_deviation

  def count(self, codes: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Returns votes (K, D) of batches (V, b, D) with factors (V,) held."""
    shape = self.variances.shape
    votes = np.zeros((self.num_factors, *shape), np.int64)
    if self.active.any():
      relative = np.full((len(codes), *shape), np.inf)
      moved = codes[..., self.active].var(1, ddof=1)
      relative[:, self.active] = moved / self.variances[self.active]
      np.add.at(votes, (held, relative.argmin(1)), 1)
    return votes

  def result(self, train: np.ndarray, evaluation: np.ndarray) -> FactorVae:
    """Returns how often the majority of one table is right, and of another."""
    classifier = train.argmax(0)
    right = [
      float(votes[classifier, np.arange(votes.shape[1])].sum())
      / max(1, votes.sum())
      for votes in (train, evaluation)
    ]
    return FactorVae(*right, self.active, classifier, train, evaluation)


def factor_vae_from_table(
  codes: np.ndarray,
  factors: np.ndarray,
  *,
  train_votes: int = 10_000,
  evaluation_votes: int = 5_000,
  batch: int = 64,
  least_deviation: float = 0.05,
  seed: int = 0,
) -> FactorVae:
  """Returns the score of codes whose factors are known.

  A batch repeats rows where a level has few; the table must be large enough
  that other factors vary within it. If factors depend on each other, holding
  one holds others.

  Args:
    codes: (n, D) float.
    factors: (n, K) int.
    train_votes: batches that the majority is of.
    evaluation_votes: batches that accuracy is of.
    batch: examples of a batch.
    least_deviation: codes with a smaller standard deviation are left out. It is
      no relative measure: codes of another scale than N(0, 1) need another one.
    seed: of the draws.

  Raises:
    ValueError: shapes or dtypes are wrong, or a factor is constant.
  """
  codes, factors = _arrays.pair(codes, factors)
  if len(codes) < 2:
    raise validate.error("codes", "1 example", "at least 2 examples")
  # A variance is of 2 examples or more.
  validate.integer("batch", batch, 2)
  pieces = _draws.in_pieces(
    _draws.Table(codes, factors).held,
    np.random.default_rng(seed),
    batch,
    train_votes=train_votes,
    evaluation_votes=evaluation_votes,
  )
  variances = codes.var(0, ddof=1)
  votes = Votes(factors.shape[1], variances, least_deviation)
  return votes.result(*(sum(votes.count(*x) for x in part) for part in pieces))
