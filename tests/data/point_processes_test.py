"""Simulated event sequences against the laws that they follow."""

import dataclasses
import math

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import point_processes

_PROCESSES = {
  "hawkes": point_processes.Hawkes(),
  "poisson": point_processes.Poisson(),
  "renewal": point_processes.Renewal(),
  "self_correcting": point_processes.SelfCorrecting(),
}


def intensities(process, times, marks, t):
  """Intensity of each mark at t, given the events before it."""
  before = times < t
  if isinstance(process, point_processes.Hawkes):
    kernel = process.b * np.exp(-process.b * (t - times[before]))
    a = np.array(process.a)[:, marks[before]]
    return np.array(process.mu) + a @ kernel
  if isinstance(process, point_processes.Poisson):
    wave = math.sin(2 * math.pi * t / process.period)
    return np.array([process.base + process.swing * wave])
  if isinstance(process, point_processes.SelfCorrecting):
    return np.array([math.exp(process.rise * t - process.drop * before.sum())])
  gap = (t - times[before].max(initial=0)) * process.rate
  # Of a gamma density: its value over what is left of it.
  k = process.shape
  density = (
    process.rate * gap ** (k - 1) * math.exp(-gap) / math.factorial(k - 1)
  )
  left = sum(gap**i / math.factorial(i) for i in range(k)) * math.exp(-gap)
  return np.array([density / left])


@pytest.mark.parametrize("name", sorted(_PROCESSES))
def test_densities_are_the_integrals_of_the_intensity(name):
  process = _PROCESSES[name]
  rng = np.random.default_rng(0)
  events = process.simulate(rng, 2, 6.0)
  density = process.log_density(events)
  # The middles of small steps: second order, and far below the tolerance.
  steps = 400
  for row in range(2):
    count = events.lengths[row]
    times, marks = events.times[row, :count], events.marks[row, :count]
    edges = np.concatenate([[0], times, [events.horizon]])
    expected = []
    for start, end in zip(edges, edges[1:]):
      width = (end - start) / steps
      middles = start + width * (np.arange(steps) + 0.5)
      total = sum(intensities(process, times, marks, t).sum() for t in middles)
      expected.append(-total * width)
    np.testing.assert_allclose(density.tail[row], expected[-1], rtol=1e-4)
    for i in range(count):
      rate = intensities(process, times, marks, times[i])[marks[i]]
      np.testing.assert_allclose(
        density.events[row, i], math.log(rate) + expected[i], rtol=1e-4,
        atol=1e-5,
      )  # fmt: skip
    assert np.all(density.events[row, count:] == 0)


@pytest.mark.parametrize("name", sorted(_PROCESSES))
def test_integrated_intensities_are_exponential(name):
  process = _PROCESSES[name]
  events = process.simulate(np.random.default_rng(1), 300, 30.0)
  assert np.all(events.lengths > 0)
  density = process.log_density(events)
  # What is integrated up to each event is minus the log chance of none until
  # then. Its sum over a sequence has the number of events as its mean.
  if name == "hawkes":
    total = np.zeros(300)
    for row in range(300):
      count = events.lengths[row]
      times, marks = events.times[row, :count], events.marks[row, :count]
      spent = 1 - np.exp(-process.b * (events.horizon - times))
      caused = np.array(process.a).sum(0)[marks] * spent
      total[row] = sum(process.mu) * events.horizon + caused.sum()
  else:
    log_rate = np.zeros(events.times.shape)
    for row in range(300):
      count = events.lengths[row]
      times, marks = events.times[row, :count], events.marks[row, :count]
      for i, time in enumerate(times):
        rate = intensities(process, times, marks, time)
        log_rate[row, i] = math.log(rate[0])
    total = (log_rate - density.events).sum(1) - density.tail
  excess = events.lengths - total
  # A martingale: its variance is the mean number of events.
  error = math.sqrt(events.lengths.mean() / 300)
  assert abs(excess.mean()) < 4 * error
  assert excess.std() == pytest.approx(math.sqrt(total.mean()), rel=0.2)


def test_hawkes_has_its_stationary_rate():
  process = _PROCESSES["hawkes"]
  events = process.simulate(np.random.default_rng(2), 200, 100.0)
  late = (events.times > 20) & (events.times <= 100)
  counts = [np.sum(events.marks[late] == k) / 200 / 80 for k in range(3)]
  rates = np.linalg.solve(np.eye(3) - np.array(process.a), process.mu)
  # Events of a cluster come together: the spread is about 3 / sqrt(events).
  np.testing.assert_allclose(counts, rates, rtol=0.06)


@pytest.mark.parametrize("name", sorted(_PROCESSES))
def test_load(name):
  sizes = {"train": 20, "valid": 4, "test": 6, "horizon": 10.0}
  splits = data.load(name, seed=3, **sizes)
  again = data.load(name, seed=3, **sizes)
  other = data.load(name, seed=4, **sizes)
  for part, count in (("train", 20), ("valid", 4), ("test", 6)):
    found = getattr(splits, part)
    inside = np.arange(found.inputs.shape[1]) < found.lengths[:, None]
    assert len(found.inputs) == count
    assert found.inputs.shape[1] == splits.train.inputs.shape[1]
    times = np.where(inside, np.cumsum(found.inputs[..., 0], 1), 0)
    # Sums of float32 gaps up to 10.
    np.testing.assert_allclose(times, found.extras.times, atol=1e-4)
    assert times.max() <= 10
    assert np.all(found.inputs[inside] > 0)
    assert not np.any(found.inputs[~inside])
    nats = -found.extras.log_density.sum() / found.lengths.sum()
    # Float32 values, summed.
    assert splits.info.nats_per_event[part] == pytest.approx(nats, rel=1e-4)
    np.testing.assert_array_equal(found.inputs, getattr(again, part).inputs)
  first = [part.extras.times[:, 0] for part in (*splits[:3], *other[:3])]
  assert len(set(np.concatenate(first))) == 60


def test_wrong_options_are_named():
  with pytest.raises(
    ValueError, match="process: got 'cox', expected one of 'hawkes', "
  ):
    point_processes.load("cox")
  for options, message in (
    ({"horizon": 0.0}, "horizon: got 0.0, expected a finite number above 0"),
    ({"test": 0}, "test: got 0, expected an integer of at least 1"),
  ):
    with pytest.raises(ValueError, match=message):
      data.load("hawkes", **options)
  for name, field, value, message in (
    ("hawkes", "b", -1.0, "b: got -1.0, expected a finite number above 0"),
    ("hawkes", "mu", (0.0, 0.0, 0.0), "mu: got .0.0, 0.0, 0.0., expected"),
    ("hawkes", "a", ((0.1,),), "a: got ..0.1,.,., expected 3 x 3, as long as"),
    ("hawkes", "a", ((1.0, 0, 0), (0, 0, 0), (0, 0, 0)), "a: got 1.000"),
    ("poisson", "swing", 1.0, "swing: got 1.0, expected at least 0 and less"),
    ("renewal", "shape", 0, "shape: got 0, expected an integer of at least 1"),
    (
      "self_correcting",
      "drop",
      math.nan,
      "drop: got nan, expected a finite number",
    ),
  ):
    with pytest.raises(ValueError, match=message):
      dataclasses.replace(_PROCESSES[name], **{field: value})


def test_what_events_leave_is_finite_behind_their_ends():
  process = point_processes.Hawkes()
  times, marks = (
    np.array([[400.0, 900.0], [900.0, 0.0]]),
    np.array([[0, 1]] * 2),
  )
  events = point_processes.Events(times, marks, np.array([2, 1]), 1000.0)
  with np.errstate(over="raise"):
    left = process.excitation(events)
  assert np.isfinite(left).all()
  jumps = np.array(process.a).T * process.b
  np.testing.assert_allclose(left[0], jumps[[0, 1]], rtol=1e-9)
