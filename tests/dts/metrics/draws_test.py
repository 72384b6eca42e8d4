import numpy as np
import pytest

from jaxseq.dts import metrics
from jaxseq.dts.metrics import _draws
from tests.dts.metrics import cases

_SIZES = (2, 3, 4)


def _identity(factors):
  return factors.astype(float)


def _table(pairs):
  """Draws from a table whose codes are its factors, some rows of it often."""
  factors = cases.grid(_SIZES)
  factors = np.concatenate([factors, np.tile(factors[:3], (30, 1))])
  table = _draws.Table(_identity(factors), factors)
  return lambda rng: (table.pairs if pairs else table.held)(rng, 400, 5)


def _encoder(pairs):
  made = _draws.make_generator(_identity, _SIZES)
  return lambda rng: (made.pairs if pairs else made.held)(rng, 400, 5)


@pytest.mark.parametrize("make", [_table, _encoder])
def test_one_factor_is_held(make):
  codes, held = make(pairs=False)(np.random.default_rng(0))
  assert codes.shape == (400, 5, 3)
  one = np.take_along_axis(codes, held[:, None, None], axis=2)
  np.testing.assert_array_equal(one, one[:, :1].repeat(5, axis=1))
  for k, size in enumerate(_SIZES):
    votes = codes[held == k]
    # About 133 votes, and all levels alike: five standard deviations.
    assert 85 < len(votes) < 181
    counts = np.bincount(votes[:, 0, k].astype(int), minlength=size)
    assert abs(counts - len(votes) / size).max() < 5 * np.sqrt(len(votes))
    others = np.delete(votes, k, axis=2)
    assert (np.ptp(others, axis=1) > 0).any(0).all()


@pytest.mark.parametrize("make", [_table, _encoder])
def test_pairs_have_one_factor_in_common(make):
  first, second, common = make(pairs=True)(np.random.default_rng(0))
  assert first.shape == second.shape == (400, 5, 3)
  same = first == second
  for k in range(3):
    votes = same[common == k]
    assert votes[..., k].all()
    assert not np.delete(votes, k, axis=2).all((0, 1)).any()
    # The level that is common differs from pair to pair.
    assert np.ptp(first[common == k][..., k], axis=1).any()


def test_rows_of_rare_levels_are_found():
  factors = np.array([[5], [5], [-1], [5]])
  table = _draws.Table(np.arange(4.0)[:, None], factors)
  codes, _ = table.held(np.random.default_rng(0), 100, 3)
  rare = (codes == 2).all((1, 2))
  # Each level is as likely as the other: five standard deviations.
  assert 25 < rare.sum() < 75
  assert not (codes[~rare] == 2).any()


def test_what_encode_returns_is_checked():
  with pytest.raises(
    ValueError, match="what encode returns: got .*, expected 50 rows"
  ):
    metrics.factor_vae_from_encoder(
      lambda factors: factors[:50] if len(factors) > 50 else factors[1:],
      [2, 2],
      train_votes=10,
      batch=5,
    )
  with pytest.raises(ValueError, match=r"got \[2, 1\], expected at least 2"):
    metrics.beta_vae_from_encoder(_identity, [2, 1])
