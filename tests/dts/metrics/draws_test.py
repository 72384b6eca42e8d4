import numpy as np
import pytest

from jaxseq.dts.metrics import _draws
from tests.dts.metrics import cases

_SIZES = (2, 3, 4)


@pytest.fixture
def table():
  """A table whose codes are its factors, some rows of it often."""
  factors = cases.grid(_SIZES)
  factors = np.concatenate([factors, np.tile(factors[:3], (30, 1))])
  return _draws.Table(factors.astype(float), factors)


def test_one_factor_is_held(table):
  codes, held = table.held(np.random.default_rng(0), 400, 5)
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


def test_pairs_have_one_factor_in_common(table):
  first, second, common = table.pairs(np.random.default_rng(0), 400, 5)
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
