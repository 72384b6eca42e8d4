"""Series with known factors: a seasonal series with a trend, and ECGs.

Every series is generated from six factors of eight levels each, drawn
independently and uniformly: data to measure how well a model disentangles.
The functions `*_series` compute the series of given levels, without noise.

The ECG is a sum of Gaussians in the phase of the heart beat, one for each of
the waves P, Q, R, S and T: the shape of the dynamical model of McSharry et al.,
IEEE Trans. Biomed. Eng. 50(3), 2003, with amplitudes given directly.
"""

from collections.abc import Callable
from collections.abc import Iterable
from typing import Literal
from typing import TypedDict
from typing import Unpack
from typing import get_args

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets

LEVELS = 8
Start = Literal["aligned", "random"]
_BEATS = "Gaussian waves in the phase of the beat (McSharry et al., 2003)"

# Values of each factor at the lowest and at the highest level.
SEASONAL = {
  "amplitude": (0.5, 1.5),
  "frequency": (2.0, 6.0),
  "phase": (0.0, 7 * np.pi / 8),
  "slope": (-1.0, 1.0),
  "offset": (-0.5, 0.5),
  "harmonic": (0.0, 0.6),
}
ECG = {
  "heart_rate": (50.0, 110.0),
  "p_amplitude": (0.05, 0.3),
  "r_amplitude": (0.6, 1.4),
  "t_amplitude": (-0.1, 0.5),
  "pr_interval": (0.8, 1.2),
  "qt_interval": (0.85, 1.25),
}
HEARTBEAT = {"offset": (-0.2, 0.2)} | {
  name: ends for name, ends in ECG.items() if name != "heart_rate"
}

# Widths of the waves P, Q, R, S and T in the phase of the beat.
WIDTHS = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
_CENTERS = np.array([-np.pi / 3, -np.pi / 12, 0.0, np.pi / 12, np.pi / 2])
# Depths of Q and S relative to the height of R.
_Q_SHARE, _S_SHARE = 0.12, 0.25


def _sample_factors(
  rng: np.random.Generator, count: int, factors: int = 6
) -> np.ndarray:
  """Draws levels (count, factors) int32 of independent, uniform factors."""
  return rng.integers(0, LEVELS, (count, factors), dtype=np.int32)


def factor_values(
  levels: np.ndarray, ranges: dict[str, tuple[float, float]]
) -> dict[str, np.ndarray]:
  """Returns the values of factor levels.

  Args:
    levels: (..., factors) integers in 0 .. 7.
    ranges: the lowest and the highest value of each factor, such as `ECG`; the
      values of the levels between are evenly spaced.

  Returns:
    The values (...) float64 of each factor by name.

  Raises:
    ValueError: if the number of factors differs or a level is out of range.
  """
  levels = np.asarray(levels)
  if levels.shape[-1:] != (len(ranges),):
    expected = f"a last axis of {len(ranges)} ({', '.join(ranges)})"
    raise validate.error("levels", f"shape {levels.shape}", expected)
  if levels.size and not (levels.min() >= 0 and levels.max() < LEVELS):
    received = f"{levels.min()} .. {levels.max()}"
    raise ValueError(f"levels: got {received}, expected 0 to {LEVELS - 1}.")
  return {
    name: np.linspace(*ends, LEVELS)[levels[..., i]]
    for i, (name, ends) in enumerate(ranges.items())
  }


def _over_time(levels, ranges):
  """Returns the factor values with an added time axis."""
  values = factor_values(levels, ranges)
  return {name: value[..., None] for name, value in values.items()}


def _wrap(angle: np.ndarray) -> np.ndarray:
  """Wraps an angle to -pi .. pi, pi excluded."""
  return (angle + np.pi) % (2 * np.pi) - np.pi


def seasonal_series(levels: np.ndarray, length: int = 64) -> np.ndarray:
  """Computes seasonal series with a trend.

  At tau = t / length, with w = 2 pi frequency tau + phase, the value is
  offset + slope (tau - 1/2) + amplitude (sin(w) + harmonic sin(2 w)).

  Args:
    levels: (..., 6) levels of the factors of `SEASONAL`.
    length: number of elements in time.

  Returns:
    (..., length) float64.
  """
  value = _over_time(levels, SEASONAL)
  tau = np.arange(length) / length
  w = 2 * np.pi * value["frequency"] * tau + value["phase"]
  wave = np.sin(w) + value["harmonic"] * np.sin(2 * w)
  trend = value["offset"] + value["slope"] * (tau - 0.5)
  return trend + value["amplitude"] * wave


def _beats(value, phase):
  """Sums the five waves at a phase."""
  p, r, t = (value[f"{wave}_amplitude"] for wave in "prt")
  heights = [p, -_Q_SHARE * r, r, -_S_SHARE * r, t]
  centers = list(_CENTERS)
  centers[0] = centers[0] * value["pr_interval"]
  centers[4] = centers[4] * value["qt_interval"]
  return sum(
    height * np.exp(-(_wrap(phase - center) ** 2) / (2 * width**2))
    for height, center, width in zip(heights, centers, WIDTHS)
  )


def ecg_series(
  levels: np.ndarray,
  length: int = 128,
  rate: float = 64.0,
  start: float | np.ndarray = -np.pi,
) -> np.ndarray:
  """Computes ECGs with a constant heart rate.

  Args:
    levels: (..., 6) levels of the factors of `ECG`.
    length: number of elements in time.
    rate: elements per second.
    start: phase of the beat at the first element, a number or (...); 0 is the
      peak of R.

  Returns:
    (..., length) float64.
  """
  value = _over_time(levels, ECG)
  turns = value["heart_rate"] / 60 * np.arange(length) / rate
  phase = np.asarray(start)[..., None] + 2 * np.pi * turns
  return _beats(value, phase)


def heartbeat_series(levels: np.ndarray, length: int = 64) -> np.ndarray:
  """Computes single heart beats over a baseline.

  Args:
    levels: (..., 6) levels of the factors of `HEARTBEAT`.
    length: number of elements in time, in which the phase of the beat goes
      from -pi to pi.

  Returns:
    (..., length) float64.
  """
  value = _over_time(levels, HEARTBEAT)
  phase = -np.pi + 2 * np.pi * np.arange(length) / length
  return value["offset"] + _beats(value, phase)


class Options(TypedDict, total=False):
  """Options of all sets of this kind, with the defaults of `make_splits`."""

  seed: int
  train: int
  valid: int
  test: int
  noise: float


def make_splits(
  make: Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray],
  names: Iterable[str],
  description: str,
  source: str,
  *,
  start: Start | None = None,
  seed: int = 0,
  train: int = 8192,
  valid: int = 1024,
  test: int = 4096,
  noise: float = 0.05,
) -> datasets.Splits:
  """Generates the three parts of a set of series with known factors.

  Args:
    make: function of levels (count, factors), phases at which the series start,
      (count,) float64 in -pi .. pi, and a random generator that returns the
      series (count, length).
    names: names of the factors.
    description: see `datasets.Info`.
    source: see `datasets.Info`.
    start: for series of beats, see `ecg`; None for series without a phase.
    seed: seed; each part has its own random stream.
    train: number of training series.
    valid: number of validation series.
    test: number of test series.
    noise: standard deviation of Gaussian noise on every element. Without noise
      equal levels give equal series, in different parts as well.

  Returns:
    The splits: inputs (n, length, 1); targets (n, factors), the levels 0 .. 7
    of the factors. All inputs are divided by one number, the standard deviation
    of all training values. info.factors: names and sizes of the factors, the
    scale and the noise.

  Raises:
    ValueError: if a number is out of range.
  """
  counts = {"train": train, "valid": valid, "test": test}
  validate.all_positive(**counts)
  validate.number("noise", noise, 0)
  if start is not None:
    validate.choice("start", start, get_args(Start))
  names = tuple(names)
  parts, scale = {}, None
  for number, (name, count) in enumerate(counts.items()):
    rng = np.random.default_rng([seed, number])
    levels = _sample_factors(rng, count, len(names))
    phase = np.full(count, -np.pi)
    if start == "random":
      phase = rng.uniform(-np.pi, np.pi, count)
    series = make(levels, phase, rng)
    series = series + noise * rng.standard_normal(series.shape)
    if scale is None:
      # One scale for the whole set: a scale per series would remove the
      # amplitudes, which depend on factors.
      scale = float(series.std())
    inputs = (series / scale).astype(np.float32)[..., None]
    extras = datasets.Extras(phase=phase.astype(np.float32) if start else None)
    parts[name] = datasets.ArrayDataset(inputs, levels, None, extras)
  factors = datasets.Factors(names, (LEVELS,) * len(names), scale, noise)
  info = datasets.Info(description, source, "none needed", factors=factors)
  return datasets.Splits(**parts, info=info)


def _of_length(series, length, *details, **options):
  """Generates a set from a function of levels and length."""
  validate.positive("length", length)
  return make_splits(
    lambda levels, phase, rng: series(levels, length), *details, **options
  )


def seasonal(length: int = 64, **options: Unpack[Options]) -> datasets.Splits:
  """Generates a set of seasonal series with a trend.

  Args:
    length: number of elements in time.
    **options: see `make_splits`.

  Returns:
    The splits, see `make_splits`, with the factors of `SEASONAL`.

  Raises:
    ValueError: if a number is out of range.
  """
  about = "A seasonal series with a trend; which six factors made it?"
  details = (SEASONAL, about, "sines over a line")
  return _of_length(seasonal_series, length, *details, **options)


def ecg(
  length: int = 128,
  rate: float = 64.0,
  start: Start = "aligned",
  **options: Unpack[Options],
) -> datasets.Splits:
  """Generates a set of ECGs.

  Args:
    length: number of elements in time; 128 at 64 per second and 64 at 32 per
      second are the usual choices.
    rate: elements per second.
    start: phase at which a series starts: "aligned" is always half a beat from
      the peak of R; "random" is uniform, a nuisance that is not a factor.
    **options: see `make_splits`.

  Returns:
    The splits, see `make_splits`, with the factors of `ECG`. extras.phase, (n,)
    float32, is the phase of the first element in -pi .. pi.

  Raises:
    ValueError: if an option is out of range.
  """
  validate.positive("length", length)
  validate.above_zero("rate", rate)
  return make_splits(
    lambda levels, phase, rng: ecg_series(levels, length, rate, phase),
    ECG,
    "A synthetic ECG; which six factors made it?",
    _BEATS,
    start=start,
    **options,
  )


def heartbeat(length: int = 64, **options: Unpack[Options]) -> datasets.Splits:
  """Generates a set of single heart beats.

  Args:
    length: number of elements in time.
    **options: see `make_splits`.

  Returns:
    The splits, see `make_splits`, with the factors of `HEARTBEAT`.

  Raises:
    ValueError: if a number is out of range.
  """
  about = "A synthetic heart beat; which six factors made it?"
  return _of_length(
    heartbeat_series, length, HEARTBEAT, about, _BEATS, **options
  )
