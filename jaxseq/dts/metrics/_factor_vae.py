"""The FactorVAE score: which code moves least while a factor is held.

Kim and Mnih, "Disentangling by Factorising", arXiv:1802.05983, section 4, as in
disentanglement_lib.
"""

from typing import NamedTuple

import numpy as np

from jaxseq import _validate
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
    raise _validate.error("codes", "1 example", "at least 2 examples")
  # A variance is of 2 examples or more.
  _validate.integer("batch", batch, 2)
  pieces = _draws.in_pieces(
    _draws.Table(codes, factors).held,
    np.random.default_rng(seed),
    batch,
    train_votes=train_votes,
    evaluation_votes=evaluation_votes,
  )
  variances = codes.var(0, ddof=1)
  votes = _Votes(factors.shape[1], variances, least_deviation)
  return votes.result(*(sum(votes.count(*x) for x in part) for part in pieces))


def factor_vae_from_votes(
  train_codes: np.ndarray,
  train_factor: np.ndarray,
  evaluation_codes: np.ndarray,
  evaluation_factor: np.ndarray,
  global_variances: np.ndarray,
  *,
  num_factors: int | None = None,
  least_deviation: float = 0.05,
) -> FactorVae:
  """Returns the score of recorded batches.

  Args:
    train_codes: (V, b, D) batches, in each of which one factor is held.
    train_factor: (V,) int, which.
    evaluation_codes: (W, b, D) other batches.
    evaluation_factor: (W,) int.
    global_variances: (D,) unbiased variances of codes of all examples.
    num_factors: K; the largest factor plus 1 if None.
    least_deviation: codes with a smaller standard deviation are left out.

  Raises:
    ValueError: shapes or dtypes do not fit.
  """
  train_codes, evaluation_codes = (
    np.asarray(codes, np.float64) for codes in (train_codes, evaluation_codes)
  )
  train = _arrays.label_array(train_factor, len(train_codes), "train_factor")
  other = _arrays.label_array(
    evaluation_factor, len(evaluation_codes), "evaluation_factor"
  )
  if num_factors is None:
    num_factors = int(max(train.max(), other.max())) + 1
  variances = np.asarray(global_variances, np.float64)
  votes = _Votes(num_factors, variances, least_deviation)
  return votes.result(
    votes.count(train_codes, train), votes.count(evaluation_codes, other)
  )


class _Votes:
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
    if codes.ndim != 3 or shape != codes.shape[2:] or not codes.size:
      got = f"shape {codes.shape} and {shape}"
      expected = "(votes, examples, codes), and a global variance for each code"
      raise _validate.error("batches of codes", got, expected)
    if held.min() < 0 or held.max() >= self.num_factors:
      expected = f"a number in 0 .. {self.num_factors - 1}"
      raise _validate.error("factors", held, expected)
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
