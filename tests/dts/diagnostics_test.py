import math

import numpy as np
import pytest

from jaxseq.dts import diagnostics


def test_active_units():
  # Unbiased variances of two values a and -a: 2 a^2.
  mu = np.outer([1.0, -1.0], [0.0705, 0.0709, 0.0, 3.0])
  assert diagnostics.active_units(mu).tolist() == [False, True, False, True]
  assert diagnostics.active_units(mu, 1.0).sum() == 1
  with pytest.raises(ValueError, match="at least 2 examples"):
    diagnostics.active_units(mu[:1])


def test_kl_per_coordinate():
  mu = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 1e-6]])
  logvar = np.array([[0.0, 0.0, 1e-9], [0.0, math.log(4), 1e-9]])
  seen = diagnostics.kl_per_coordinate(mu, logvar)
  narrow = 0.5 * (3 - math.log(4))
  np.testing.assert_allclose(seen[:2], [0.0, (2 + narrow) / 2], rtol=1e-12)
  # mu^2 / 4; a millionth of it comes from the variances. With exp(x) - 1 in
  # place of expm1 rounding would leave 1e-16 or so.
  np.testing.assert_allclose(seen[2], 2.5e-13 + 2.5e-19, rtol=1e-9)


def _nll(x, z):
  """-log N(x; z, 1) up to constants, summed over coordinates."""
  return 0.5 * np.square(x - z).sum(1)


def test_nll_gap():
  assert diagnostics.nll_gap([1.0, 2.0], [2.0, 5.0]) == 2.0
  z = np.random.default_rng(0).normal(size=(3000, 2))
  # Twice a variance of 1, halved, in two coordinates: 2 nats. Its standard
  # deviation is about sqrt(8 / 3000) = 0.05.
  gap = diagnostics.nll_gap_of(_nll, z, z)
  assert gap == pytest.approx(2.0, abs=0.25)
  assert diagnostics.nll_gap_of(lambda x, z: _nll(x, 0 * z), z, z) == 0.0
  with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(1,\)"):
    diagnostics.nll_gap([1.0, 2.0], [1.0])
  with pytest.raises(ValueError, match="must be finite"):
    diagnostics.nll_gap([1.0], [np.inf])
  with pytest.raises(ValueError, match="at least 2 windows"):
    diagnostics.nll_gap_of(_nll, z[:1], z[:1])


@pytest.mark.parametrize("n", [2, 3, 10])
def test_no_window_keeps_its_own(n):
  for seed in range(20):
    order = diagnostics.exchange(n, seed)
    assert sorted(order) == list(range(n))
    assert (order != np.arange(n)).all()


def test_anomaly_auc():
  pytest.importorskip("sklearn")
  scores = [0.1, 0.4, 0.35, 0.8]
  assert diagnostics.anomaly_auc(scores, [0, 0, 1, 1]) == 0.75
  assert diagnostics.anomaly_auc(scores, np.array(scores) > 0.38) == 1.0
  assert diagnostics.anomaly_auc(np.ones(4), [0, 0, 1, 1]) == 0.5
  with pytest.raises(ValueError, match="at least two classes"):
    diagnostics.anomaly_auc(scores, [0, 0, 0, 0])
  with pytest.raises(ValueError, match=r"hold 0 and 1; got \[0, 2\]"):
    diagnostics.anomaly_auc(scores, [0, 0, 2, 2])
  with pytest.raises(ValueError, match="finite"):
    diagnostics.anomaly_auc([0.0, np.nan], [0, 1])


def test_traversal_effect():
  reference = np.ones((4, 2))
  traversal = np.ones((3, 5, 4, 2))
  traversal[1] += np.array([-2, -1, 0, 1, 2])[:, None, None]
  traversal[2, :, :, 0] += 1
  np.testing.assert_array_equal(
    diagnostics.traversal_effect(traversal, reference), [0, 2, 0.5]
  )
  with pytest.raises(ValueError, match=r"got shapes \(3, 5, 4, 2\) and \(4,"):
    diagnostics.traversal_effect(traversal, reference[:, :1])
