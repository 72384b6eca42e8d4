"""ECGs from a dynamical model, with six known factors.

A point runs around a circle, once in every heart beat; the waves P, Q, R, S and
T raise and lower the ECG z as the point passes their angles:

  x' = g x - w y,  y' = g y + w x,  g = 1 - sqrt(x^2 + y^2),  w = 2 pi / RR
  z' = -sum_i a_i d_i exp(-d_i^2 / (2 b_i^2)) - (z - z0),  d_i = angle - theta_i

with breathing z0 = 0.005 sin(2 pi t / 4 s). Times are in seconds.

On the circle the angle is the integral of w. The rest, z' + z = a known input,
is a scalar linear recurrence.

Source: McSharry et al., IEEE Trans. Biomed. Eng. 50(3), 2003. Angles and widths
follow the heart rate as in the authors' code (ECGSYN).
"""

from typing import NamedTuple
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import factors

# Parameters of the waves P, Q, R, S and T at 60 beats per minute.
_ANGLES = np.radians([-70.0, -15.0, 0.0, 15.0, 100.0])
_PUSHES = np.array([1.2, -5.0, 30.0, -7.5, 0.75])
_BREATHING = (0.005, 0.25)
_Z = 0.04
# z at R is about 0.04. The gain is one for all series: a gain per series would
# remove the amplitudes.
GAIN = 25.0
# One breath in seconds; it reduces the influence of the start to exp(-4).
_WARM_UP = 4.0
_STEP = 1 / 512
# Heights of P and T relative to R in the published model.
_P_HEIGHT, _T_HEIGHT = 0.25, 0.4
# Series computed at a time; bounds the memory.
_CHUNK = 256


@jax.jit
def _decayed_sums(
  decay: jax.Array, inputs: jax.Array, init: jax.Array
) -> jax.Array:
  """Returns z_{k+1} = decay z_k + input_k, (n, steps) like the inputs."""

  def advance(z, pushed):
    z = decay * z + pushed
    return z, z

  return jax.lax.scan(advance, init, inputs.T)[1].T


class Waves(NamedTuple):
  """Parameters of the model, for n series.

  Attributes:
    heart_rate: (n,) mean heart rate in beats per minute.
    a: (n, 5) strengths of the waves P, Q, R, S and T.
    theta: (n, 5) their angles, in radians.
    b: (n, 5) their widths, in radians.
  """

  heart_rate: np.ndarray
  a: np.ndarray
  theta: np.ndarray
  b: np.ndarray


def _adjusted(heart_rate: np.ndarray) -> Waves:
  """Returns the published waves at heart rates (n,) in beats per minute."""
  h = np.sqrt(np.asarray(heart_rate, float) / 60)[:, None]
  powers = np.array([0.5, 1.0, 0.0, 1.0, 0.5])
  return Waves(
    np.asarray(heart_rate, float),
    np.broadcast_to(_PUSHES, (len(h), 5)),
    _ANGLES * h**powers,
    factors.WIDTHS * h,
  )


def waves(levels: np.ndarray) -> Waves:
  """Returns the waves for levels of the factors `factors.ECG`.

  The amplitudes of P and T are relative to an R of 1, the amplitude of R to the
  published one: the published model has 0.25, 0.4 and 1. Intervals stretch the
  angles of P and T.

  Args:
    levels: (n, 6) levels of the factors.

  Returns:
    The waves.
  """
  value = factors.factor_values(levels, factors.ECG)
  published = _adjusted(value["heart_rate"])
  a, theta = published.a.copy(), published.theta.copy()
  a[:, 0] *= value["p_amplitude"] / _P_HEIGHT
  a[:, 1:4] *= value["r_amplitude"][:, None]
  a[:, 4] *= value["t_amplitude"] / _T_HEIGHT
  theta[:, 0] *= value["pr_interval"]
  theta[:, 4] *= value["qt_interval"]
  return published._replace(a=a, theta=theta)


def _rate(heart_rate: np.ndarray) -> np.ndarray:
  """Returns the angular frequency (n,) of heart rates in beats per minute."""
  return 2 * np.pi * np.asarray(heart_rate, float) / 60


def _breathing(time: np.ndarray) -> np.ndarray:
  """Returns the baseline z0 at a time in seconds."""
  height, frequency = _BREATHING
  return height * np.sin(2 * np.pi * frequency * time)


def _pushed(angle, parameters):
  """Sums the terms of the waves in z' at an angle (n, ...)."""
  total = np.zeros_like(angle)
  shift = (slice(None),) + (None,) * (angle.ndim - 1)
  for a, theta, b in zip(parameters.a.T, parameters.theta.T, parameters.b.T):
    difference = angle - theta[shift]
    difference -= 2 * np.pi * np.rint(difference / (2 * np.pi))
    total -= (
      a[shift] * difference * np.exp(difference**2 / (-2 * b[shift] ** 2))
    )
  return total


def _by_recurrence(
  parameters: Waves,
  steps: int,
  step: float = _STEP,
  angle: np.ndarray | float = 0.0,
) -> np.ndarray:
  """Returns z, (n, steps + 1), at the times 0, step, 2 step, ..."""
  # z_{k+1} = exp(-step) z_k + the integral of exp(s - step) u(s) over the step,
  # by Simpson's rule, which is of order 4; u is the input at the known angle.
  # The columns alternate between starts and middles of steps.
  times = np.arange(2 * steps + 1) * (step / 2)
  rate = _rate(parameters.heart_rate)[:, None]
  moves = np.broadcast_to(2 * rate * (step / 4), (len(rate), 2 * steps))
  moved = np.cumsum(moves, axis=1)
  start = np.broadcast_to(angle, len(rate))[:, None]
  angles = start + np.pad(moved, ((0, 0), (1, 0)))
  u = _pushed(angles, parameters) + _breathing(times)
  decay = np.exp(-step)
  inputs = (
    decay * u[:, :-2:2] + 4 * np.exp(-step / 2) * u[:, 1::2] + u[:, 2::2]
  ) * (step / 6)
  z = np.asarray(
    _decayed_sums(jnp.asarray(decay), jnp.asarray(inputs), jnp.full(len(u), _Z))
  )
  return np.concatenate([np.full((len(z), 1), _Z, z.dtype), z], axis=1)


def _ecg_series(
  levels: np.ndarray,
  length: int = 128,
  rate: int = 64,
  start: float | np.ndarray = -np.pi,
) -> np.ndarray:
  """Computes ECGs (n, length) float64 without noise; z times `GAIN`."""
  per_second = round(1 / _STEP)
  validate.positive("length", length)
  if rate < 1 or per_second % rate:
    raise validate.error("rate", rate, f"a divisor of {per_second}")
  start = np.broadcast_to(start, len(levels))
  warm_up = round(_WARM_UP * per_second)
  stride = per_second // rate
  steps = warm_up + (length - 1) * stride
  parts = []
  for first in range(0, len(levels), _CHUNK):
    rows = slice(first, first + _CHUNK)
    parameters = waves(levels[rows])
    # Subtract the angle that the warm-up covers.
    rate_of_each = _rate(parameters.heart_rate)[:, None]
    w = np.broadcast_to(rate_of_each, (len(rate_of_each), 2 * warm_up + 1))
    angle = start[rows] - np.trapezoid(w, dx=_STEP / 2, axis=1)
    z = _by_recurrence(parameters, steps, angle=angle)
    parts.append(GAIN * z[:, warm_up::stride].astype(float))
  return np.concatenate(parts)


def load(
  length: int = 128,
  rate: int = 64,
  start: factors.Start = "aligned",
  **options: Unpack[factors.Options],
) -> datasets.Splits:
  """Generates a set of ECGs of the dynamical model.

  A thousand series take about four seconds of a CPU core.

  Args:
    length: number of elements in time.
    rate: elements per second, a divisor of 512.
    start: see `factors.ecg`.
    **options: see `factors.make_splits`.

  Returns:
    The splits, see `factors.ecg`.

  Raises:
    ValueError: if an option is out of range.
  """
  return factors.make_splits(
    lambda levels, phase, rng: _ecg_series(levels, length, rate, phase),
    factors.ECG,
    "An ECG of a dynamical model; which six factors made it?",
    "dynamical model of McSharry et al., 2003",
    start=start,
    **options,
  )
