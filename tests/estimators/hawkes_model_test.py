"""HawkesModel: a process that is known, through names and dates."""

import numpy as np
import pytest

from jaxseq import estimators
from jaxseq.data import point_processes

ACCELERATING = [[1.0, 2.0, 2.5, 2.75, 2.875, 2.95, 2.98, 3.0]]


@pytest.mark.slow
def test_a_process_of_one_mark_is_learnt():
  process = point_processes.Hawkes((0.5,), ((0.5,),), 2.0)
  events = process.simulate(np.random.default_rng(0), 60, 30.0)
  rows = [row[:n] for row, n in zip(events.times, events.lengths)]
  words = [np.full(len(row), "hit") for row in rows]
  model = estimators.HawkesModel(observed_until=30.0).fit(rows, words)
  errors = model.standard_errors_
  for got, error, true in (
    (model.mu_, errors.mu, 0.5),
    (model.a_, errors.a, 0.5),
    (model.b_, errors.b, 2.0),
  ):
    # Three standard errors; all seeds of one to six pass.
    np.testing.assert_array_less(np.abs(got - true), 3 * error)
  terms = model.process_.log_density(events)
  nats = (terms.events.sum() + terms.tail.sum()) / events.lengths.sum()
  np.testing.assert_allclose(model.score(rows, words), nats, rtol=1e-5)
  # The training's likelihood is above that of the process that made it.
  true = process.log_density(events)
  assert model.log_likelihood_ > true.events.sum() + true.tail.sum()
  coming = model.expected_counts(rows, words, edges=(1.0, 1e3))
  # In the long run, mu / (1 - a) events per unit of time.
  rate = model.mu_[0] / (1 - model.a_[0, 0])
  np.testing.assert_allclose(coming.sum(1) / 1e3, rate, rtol=0.01)
  with pytest.raises(ValueError, match="miss"):
    model.score(rows[:1], [np.full(len(rows[0]), "miss")])


def test_the_score_of_the_training_is_its_likelihood_by_events():
  # The first events begin the observation: nothing says when they come.
  rows = [[0.0, 1.0, 1.5, 4.0], [0.0, 0.5, 3.0], [2.0, 2.25]]
  marks = [["a", "b", "a", "b"], ["b", "a", "a"], ["a", "b"]]
  model = estimators.HawkesModel(b=1.0, observed_until=5.0).fit(rows, marks)
  nats = model.log_likelihood_ / 9
  np.testing.assert_allclose(model.score(rows, marks), nats, rtol=1e-6)


def test_events_that_never_cease_are_scored():
  model = estimators.HawkesModel(b=0.1, observed_until=3.0).fit(ACCELERATING)
  assert model.spectral_radius_ > 1
  nats = model.log_likelihood_ / 8
  np.testing.assert_allclose(model.score(ACCELERATING), nats, rtol=1e-6)


def test_events_that_never_cease_have_finite_counts():
  model = estimators.HawkesModel(b=0.1).fit(ACCELERATING)
  radius, rate = model.spectral_radius_, model.mu_[0]
  assert radius > 1
  counts = model.expected_counts(ACCELERATING, edges=[1.0, 5.0])[0, :, 0]
  # N' = mu + e, e' = b ((a - 1) e + a mu), and steps that are small enough.
  gaps = 3.0 - np.array(ACCELERATING[0])
  excited, total, step = radius * 0.1 * np.exp(-0.1 * gaps).sum(), 0.0, 1e-4
  for number in range(50_000):
    if number == 10_000:
      np.testing.assert_allclose(counts[0], total, rtol=1e-3)
    total += step * (rate + excited)
    excited += step * 0.1 * ((radius - 1) * excited + radius * rate)
  np.testing.assert_allclose(counts.sum(), total, rtol=1e-3)
  with pytest.raises(ValueError, match="edges: got 1000000.0, expected an"):
    model.expected_counts(ACCELERATING, edges=[1e6])
  with pytest.raises(ValueError, match="spectral_radius_: got .* below 1"):
    model.process_.simulate(np.random.default_rng(0), 1, 1.0)


def test_counts_are_of_what_comes_after_an_event_in_intervals_that_increase():
  model = estimators.HawkesModel(b=1.0).fit([[1.0, 2.0, 2.5]])
  for times, edges, message in (
    ([[1.0], []], [1.0], r"times\[1\]: got 'no event', expected one or more"),
    ([[1.0]], [2.0, 1.0], r"edges: got \[2.0, 1.0\], expected numbers above 0"),
    ([[1.0]], [0.0], "edges: got .*, expected numbers above 0 that increase"),
    ([[1.0]], [], r"edges: got \[\], expected numbers above 0 that increase"),
  ):
    with pytest.raises(ValueError, match=message):
      model.expected_counts(times, edges=edges)
