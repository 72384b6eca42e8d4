"""Series with known factors against stored values, and their sets."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import factors
from tests.data import hashing

_SMALL = {"train": 300, "valid": 7, "test": 5}
_SETS = {
  "seasonal_factors": (factors.SEASONAL, 64),
  "ecg": (factors.ECG, 128),
  "heartbeat": (factors.HEARTBEAT, 64),
}


@pytest.fixture(scope="module")
def stored(golden):
  return golden("dts/synth")


def test_seasonal_series(stored):
  levels = stored["seasonal_factors"]
  # Float64 rounding of values of order 1, here and below.
  np.testing.assert_allclose(
    factors.seasonal_series(levels), stored["seasonal_x_T64"], atol=1e-12
  )
  np.testing.assert_allclose(
    factors.seasonal_series(levels, 100), stored["seasonal_x_T100"], atol=1e-12
  )


def test_ecg_series(stored):
  levels, start = stored["ecg_factors"], stored["ecg_theta0"]
  for name, series in {
    "ecg_x_aligned_T128_fs64": factors.ecg_series(levels),
    "ecg_x_theta0_T128_fs64": factors.ecg_series(levels, start=start),
    "ecg_x_aligned_T64_fs32": factors.ecg_series(levels, 64, 32),
    "beat_x_T64": factors.heartbeat_series(levels),
  }.items():
    np.testing.assert_allclose(series, stored[name], atol=1e-12, err_msg=name)
  # Leading axes are free.
  np.testing.assert_array_equal(
    factors.ecg_series(levels[0], start=start[0]),
    factors.ecg_series(levels, start=start)[0],
  )


def test_values_of_levels_lie_evenly():
  value = factors.factor_values(np.array([[0] * 6, [7] * 6]), factors.ECG)
  assert {k: tuple(v) for k, v in value.items()} == factors.ECG
  phase = factors.factor_values(np.full(6, 5), factors.SEASONAL)["phase"]
  assert phase == pytest.approx(5 * np.pi / 8)
  with pytest.raises(ValueError, match="levels: got 0 .. 8, expected 0 to 7"):
    factors.ecg_series(np.array([0, 1, 2, 3, 4, 8]))
  with pytest.raises(
    ValueError,
    match=r"levels: got shape \(2, 5\), expected a last axis of 6 \(offset, ",
  ):
    factors.heartbeat_series(np.zeros((2, 5), int))


def test_factors_are_uniform_and_independent():
  levels = factors._sample_factors(np.random.default_rng(0), 16000)
  # 2000 of each level; five standard deviations of a binomial count are 209.
  for column in levels.T:
    assert abs(np.bincount(column, minlength=8) - 2000).max() < 209
  # A correlation has standard deviation 1 / sqrt(16000) = 0.008.
  assert abs(np.corrcoef(levels.T) - np.eye(6)).max() < 0.04


@pytest.mark.parametrize("name", _SETS)
def test_sets(name):
  ranges, length = _SETS[name]
  splits = data.load(name, **_SMALL)
  made = splits.info.factors
  assert made.names == tuple(ranges)
  assert made.sizes == (8,) * 6
  for part, count in zip(splits[:3], _SMALL.values()):
    assert part.inputs.shape == (count, length, 1)
    assert part.targets.shape == (count, 6)
    assert (part.inputs.dtype, part.targets.dtype) == (np.float32, np.int32)
  # Of float32 numbers.
  assert splits.train.inputs.std() == pytest.approx(1, abs=1e-6)
  rows = [h for part in splits[:3] for h in hashing.row_hashes(part.inputs)]
  assert len(set(rows)) == 312
  same = data.load(name, seed=0, **_SMALL)
  other = data.load(name, seed=1, **_SMALL)
  np.testing.assert_array_equal(same.test.inputs, splits.test.inputs)
  assert not hashing.shared_rows(splits.train.inputs, other.train.inputs)
  # The noise is what the series of the levels leave.
  make = getattr(factors, f"{name.removesuffix('_factors')}_series")
  left = splits.train.inputs[..., 0] * made.scale
  left = left - make(splits.train.targets)
  # Of at least 19200 numbers: 0.05 to within 0.0003, one standard error.
  assert left.std() == pytest.approx(0.05, abs=0.0015)
  assert abs(left.mean()) < 0.002


def test_amplitudes_survive_the_scaling():
  train = data.load("heartbeat", noise=0.0, **_SMALL).train
  peaks, amplitude = train.inputs.max(axis=(1, 2)), train.targets[:, 2]
  # The height of R also holds the offset and the ends of P and T.
  assert np.corrcoef(peaks, amplitude)[0, 1] > 0.85


def test_random_starts():
  splits = data.load("ecg", length=64, rate=32, start="random", **_SMALL)
  start = splits.train.extras.phase
  assert start.min() < -2.8
  assert start.max() > 2.8
  # Rounded to float32: the phase to 2e-7, and slopes are below 15.
  clean = factors.ecg_series(splits.train.targets, 64, 32, start)
  left = splits.train.inputs[..., 0] * splits.info.factors.scale - clean
  assert left.std() == pytest.approx(0.05, abs=0.0015)
