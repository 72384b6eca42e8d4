"""Tests of the statistics of windows."""

import numpy as np
import pytest

from jaxseq.data import domains


def _named(window):
  numbers = domains._described(window[:, None])
  return dict(zip(domains.STATISTICS, numbers))


def test_moments_and_order():
  x = np.random.default_rng(0).standard_normal(100)
  found = _named(x)
  lower, median, upper = np.quantile(x, (0.25, 0.5, 0.75))
  expected = {
    "mean": x.mean(),
    "deviation": x.std(),
    "minimum": x.min(),
    "maximum": x.max(),
    "median": median,
    "quartiles": upper - lower,
    "change": np.abs(np.diff(x)).mean(),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-5)  # float32


@pytest.mark.parametrize(("frequency", "band"), [(1, 0), (4, 1), (45, 4)])
def test_bands_tell_the_frequency(frequency, band):
  x = np.sin(2 * np.pi * frequency * np.arange(100) / 100) + 3
  found = _named(x)
  powers = [found[f"band_{i}"] for i in range(5)]
  assert np.argmax(powers) == band
  # All others hold nothing but the floor.
  np.testing.assert_allclose(np.delete(powers, band), np.log(1e-6), atol=1e-3)


def test_channels_follow_one_another():
  windows = np.random.default_rng(0).standard_normal((3, 64, 2))
  found = domains._described(np.float32(windows))
  assert found.shape == (3, 24)
  np.testing.assert_allclose(
    found[1, 12:], domains._described(windows[1, :, 1:]), rtol=1e-4
  )


def test_short_windows_are_refused():
  with pytest.raises(ValueError, match="windows: got 61, expected at least"):
    domains._described(np.zeros((61, 1)))
