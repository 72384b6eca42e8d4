"""The FactorVAE score: which code moves least while a factor is held.

Kim and Mnih, "Disentangling by Factorising", arXiv:1802.05983, section 4, as in
disentanglement_lib.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from typing import NamedTuple

import numpy as np

from jaxseq import _validate
from jaxseq.dts.metrics import _arrays
from jaxseq.dts.metrics import _draws

# Batches that are made at a time, so that 10,000 votes need little memory.
_PIECE = 64


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
  draw = functools.partial(_draws.held_from_table, codes, factors)
  return _score(
    draw,
    factors.shape[1],
    _variances(codes),
    train_votes,
    evaluation_votes,
    batch,
    least_deviation,
    np.random.default_rng(seed),
  )


def factor_vae_from_encoder(
  encode: Callable[[np.ndarray], np.ndarray],
  sizes: Sequence[int],
  *,
  train_votes: int = 10_000,
  evaluation_votes: int = 5_000,
  batch: int = 64,
  variance_examples: int = 10_000,
  least_deviation: float = 0.05,
  seed: int = 0,
) -> FactorVae:
  """Returns the score of an encoder of a generator with known factors.

  Args:
    encode: from factors (m, K) int64 to codes (m, D): generates a window for
      each row and encodes it.
    sizes: (K,) levels of each factor, 0 .. size - 1, which are equally likely.
    train_votes: batches that the majority is of.
    evaluation_votes: batches that accuracy is of.
    batch: examples of a batch.
    variance_examples: examples that the global variances are of.
    least_deviation: codes with a smaller standard deviation are left out.
    seed: of the draws of factors; what `encode` draws is its own.

  Raises:
    ValueError: a size is below 2, or `encode` returns another shape.
  """
  sizes = _draws.check_sizes(sizes)
  _validate.positive("variance_examples", variance_examples)
  rng = np.random.default_rng(seed)
  factors = rng.integers(sizes, size=(variance_examples, len(sizes)))
  codes = _arrays.code_array(encode(factors), "what encode returns")
  return _score(
    functools.partial(_draws.held_from_encoder, encode, sizes),
    len(sizes),
    _variances(codes),
    train_votes,
    evaluation_votes,
    batch,
    least_deviation,
    rng,
  )


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
  variances = np.asarray(global_variances, np.float64)
  train = _least_moving(train_codes, variances, least_deviation)
  evaluation = _least_moving(evaluation_codes, variances, least_deviation)
  train_factor = _arrays.label_array(train_factor, len(train), "train_factor")
  evaluation_factor = _arrays.label_array(
    evaluation_factor, len(evaluation), "evaluation_factor"
  )
  if num_factors is None:
    num_factors = int(max(train_factor.max(), evaluation_factor.max())) + 1
  count = functools.partial(_count, num_factors, len(variances))
  return _accuracies(
    count(train_factor, train),
    count(evaluation_factor, evaluation),
    np.sqrt(variances) >= least_deviation,
  )


def _score(
  draw,
  num_factors,
  variances,
  train_votes,
  evaluation_votes,
  batch,
  least_deviation,
  rng,
) -> FactorVae:
  """Draws batches by `draw(rng, count, batch)` and lets them vote."""
  if _validate.positive("batch", batch) < 2:
    raise ValueError(
      "batch: got 1, expected at least 2, of which variances are."
    )
  tables = []
  for name, total in (
    ("train_votes", train_votes),
    ("evaluation_votes", evaluation_votes),
  ):
    _validate.positive(name, total)
    table = np.zeros((num_factors, len(variances)), np.int64)
    for first in range(0, total, _PIECE):
      codes, held = draw(rng, min(_PIECE, total - first), batch)
      least = _least_moving(codes, variances, least_deviation)
      table += _count(num_factors, len(variances), held, least)
    tables.append(table)
  return _accuracies(*tables, np.sqrt(variances) >= least_deviation)


def _variances(codes: np.ndarray) -> np.ndarray:
  if len(codes) < 2:
    raise ValueError("codes: got 1, expected at least 2 examples.")
  return codes.var(0, ddof=1)


def _least_moving(codes, variances, least_deviation) -> np.ndarray:
  """Returns the active code of least relative variance (V,); -1 for none."""
  codes = np.asarray(codes, np.float64)
  if codes.ndim != 3 or variances.shape != codes.shape[2:] or not codes.size:
    raise ValueError(
      f"batches of codes: got shapes {codes.shape} and {variances.shape}, "
      "expected (votes, examples, codes), and there must be a global variance "
      "for each code."
    )
  active = np.sqrt(variances) >= least_deviation
  if not active.any():
    return np.full(len(codes), -1)
  relative = np.full((len(codes), len(variances)), np.inf)
  relative[:, active] = codes[..., active].var(1, ddof=1) / variances[active]
  return relative.argmin(1)


def _count(num_factors, num_codes, held, least) -> np.ndarray:
  """Returns votes (K, D)."""
  if held.min() < 0 or held.max() >= num_factors:
    raise ValueError(
      f"factors: got {held.min()} .. {held.max()}, expected a number in 0 .. "
      f"{num_factors - 1}."
    )
  votes = np.zeros((num_factors, num_codes), np.int64)
  voted = least >= 0
  np.add.at(votes, (held[voted], least[voted]), 1)
  return votes


def _accuracies(train_votes, evaluation_votes, active) -> FactorVae:
  classifier = train_votes.argmax(0)
  code = np.arange(len(classifier))

  def accuracy(votes):
    return float(votes[classifier, code].sum() / max(1, votes.sum()))

  return FactorVae(
    accuracy(train_votes),
    accuracy(evaluation_votes),
    active,
    classifier,
    train_votes,
    evaluation_votes,
  )
