"""The dynamical model against stored values, and its two solutions."""

import numpy as np
import pytest

from experiments.sensors import ecg_dynamics
from jaxseq import data
from jaxseq.data import factors

_STEP = 1 / 512


def derivative(state, time, parameters, rate):
  """The right-hand side of the model, (n, 3): x, y and z."""
  x, y, z = state.T
  g = 1 - np.hypot(x, y)
  pushed = ecg_dynamics._pushed(np.arctan2(y, x), parameters)
  return np.stack(
    [
      g * x - rate * y,
      g * y + rate * x,
      pushed - (z - ecg_dynamics._breathing(time)),
    ],
    -1,
  )


def by_runge_kutta(parameters, steps, step=_STEP, angle=0.0):
  """States (n, steps + 1, 3) by the Runge-Kutta method of order 4."""
  w = 2 * np.pi * parameters.heart_rate / 60
  angle = np.broadcast_to(angle, parameters.heart_rate.shape)
  state = np.stack(
    [np.cos(angle), np.sin(angle), np.full(len(angle), ecg_dynamics._Z)], -1
  )
  states = [state]
  for k in range(steps):
    start, middle, end = k * step, (k + 0.5) * step, (k + 1) * step
    k1 = derivative(state, start, parameters, w)
    k2 = derivative(state + step / 2 * k1, middle, parameters, w)
    k3 = derivative(state + step / 2 * k2, middle, parameters, w)
    k4 = derivative(state + step * k3, end, parameters, w)
    state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    states.append(state)
  return np.stack(states, axis=1)


@pytest.fixture(scope="module")
def stored(golden):
  return golden("dts/synth")


@pytest.fixture(scope="module")
def parameters(stored):
  return ecg_dynamics.Waves(
    *(stored[f"ode_{name}"] for name in ("hr", "a", "theta", "b"))
  )


@pytest.fixture(scope="module")
def solved(stored, parameters):
  """The states after every step of the stored trajectory."""
  steps = (stored["ode_traj"].shape[1] - 1) * int(stored["ode_substeps"])
  return by_runge_kutta(parameters, steps)


def test_right_hand_side(stored, parameters):
  rate = 2 * np.pi * parameters.heart_rate / 60
  for k, state in enumerate(stored["ode_traj"].swapaxes(0, 1)):
    time = k * float(stored["ode_dt"])
    np.testing.assert_allclose(
      derivative(state, time, parameters, rate),
      stored["ode_rhs"][:, k],
      atol=1e-12,  # Float64 rounding of values up to 10.
    )


def test_trajectory(stored, solved):
  # The same steps of the same method: rounding only.
  np.testing.assert_allclose(
    solved[:, :: int(stored["ode_substeps"])], stored["ode_traj"], atol=1e-12
  )


def test_waves_follow_the_heart_rate(parameters):
  published = ecg_dynamics._adjusted(parameters.heart_rate)
  np.testing.assert_allclose(published.theta, parameters.theta, atol=1e-12)
  np.testing.assert_allclose(published.b, parameters.b, atol=1e-12)


def test_the_recurrence_solves_the_same_equation(x64, parameters, solved):
  # Both are of order 4 in the step: halving it divides their distance by 16.
  steps = solved.shape[1] - 1
  found = ecg_dynamics._by_recurrence(parameters, steps)
  distance = abs(found - solved[..., 2]).max()
  assert found.dtype == np.float64
  # z spans 0.06; the error of a step is (step / width of R)^4 / 2880 of it,
  # about 1e-7 at the fastest of these hearts.
  assert distance < 1e-8
  half = _STEP / 2
  fine = abs(
    ecg_dynamics._by_recurrence(parameters, 400, half)
    - by_runge_kutta(parameters, 400, half)[..., 2]
  ).max()
  coarse = abs(found - solved[..., 2])[:, :201].max()
  assert 12 < coarse / fine < 20


def test_the_recurrence_in_float32(parameters, solved):
  found = ecg_dynamics._by_recurrence(parameters, solved.shape[1] - 1)
  assert found.dtype == np.float32
  # z is below 0.08 and remembers 512 steps: rounding of 6e-8 z a step adds up
  # to sqrt(512) of it, and stays below ten times 1e-7.
  np.testing.assert_allclose(found, solved[..., 2], atol=1e-6)


def test_series_of_factors():
  levels = factors._sample_factors(np.random.default_rng(0), 3)
  start = np.array([-np.pi, -1.0, 2.0])
  series = ecg_dynamics._ecg_series(levels, 4, 8, start)
  # Four seconds earlier, at a steady rate.
  waves = ecg_dynamics.waves(levels)
  before = start - 2 * np.pi * waves.heart_rate / 60 * 4
  solved = by_runge_kutta(waves, 4 * 512 + 3 * 64, angle=before)
  expected = ecg_dynamics.GAIN * solved[:, 4 * 512 :: 64, 2]
  # Float32 against float64, times the gain of 25; see above.
  np.testing.assert_allclose(series, expected, atol=2e-5)


def test_r_comes_half_a_beat_after_an_aligned_start():
  levels = factors._sample_factors(np.random.default_rng(0), 8)
  series = ecg_dynamics._ecg_series(levels, 64, 64)
  rate = np.linspace(50, 110, 8)[levels[:, 0]] / 60
  for row, expected in zip(series, 32 / rate):
    # Within the first beat, and to an element.
    assert abs(row[: round(1.6 * expected)].argmax() - expected) <= 1


def test_loading():
  options = {"train": 6, "valid": 1, "test": 2, "length": 16, "rate": 16}
  splits = data.load("ecg_dynamics", **options)
  again = data.load("ecg_dynamics", **options)
  assert splits.train.inputs.shape == (6, 16, 1)
  assert splits.test.targets.shape == (2, 6)
  assert splits.info.factors.names == tuple(factors.ECG)
  np.testing.assert_array_equal(splits.test.inputs, again.test.inputs)
  moving = data.load("ecg_dynamics", start="random", **options)
  assert abs(moving.train.inputs - splits.train.inputs).max() > 0.1


def test_wrong_options_are_named():
  levels = np.zeros((1, 6), int)
  with pytest.raises(
    ValueError, match="rate: got 60, expected a divisor of 512"
  ):
    ecg_dynamics._ecg_series(levels, rate=60)
