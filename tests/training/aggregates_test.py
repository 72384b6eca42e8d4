"""Aggregates against values of rliable, and against their definitions."""

import itertools

import numpy as np
import pytest

from jaxseq.training import aggregates


@pytest.fixture
def arrays(golden):
  return golden("spr/rliable_aggregates")


@pytest.mark.parametrize("run", ["a", "b"])
def test_golden_aggregates(arrays, run):
  scores = arrays[f"hns_{run}"]
  for name, expected in zip(arrays["agg_names"], arrays[f"agg_{run}"]):
    np.testing.assert_allclose(
      aggregates.AGGREGATES[str(name)](scores), expected, rtol=1e-12
    )


@pytest.mark.parametrize("run", ["a", "b"])
def test_golden_intervals(arrays, run):
  for i, name in enumerate(arrays["agg_names"]):
    interval = aggregates.bootstrap(
      arrays[f"hns_{run}"], aggregates.AGGREGATES[str(name)], resamples=5000
    )
    # Two random draws of 5,000 resamples each.
    np.testing.assert_allclose(interval, arrays[f"ci95_{run}"][:, i], atol=0.02)


def test_golden_comparison_and_profile(arrays):
  a, b = arrays["hns_a"], arrays["hns_b"]
  np.testing.assert_allclose(
    aggregates.improvement(a, b, resamples=1)[0],
    arrays["prob_improvement_a_over_b"],
    rtol=1e-12,
  )
  np.testing.assert_allclose(
    aggregates.performance_profile(a, arrays["profile_tau"]),
    arrays["profile_a"],
    rtol=1e-12,
  )


def test_interval_of_a_comparison(arrays):
  a, b = arrays["hns_a"], arrays["hns_b"]
  value, low, high = aggregates.improvement(a, b)
  np.testing.assert_allclose(
    value, arrays["prob_improvement_a_over_b"], rtol=1e-12
  )
  # Against resamples that are drawn and compared one after the other.
  rng = np.random.default_rng(1)
  tasks = np.arange(a.shape[1])
  values = [
    aggregates._improvement(
      *(x[rng.integers(len(x), size=x.shape), tasks] for x in (a, b))
    )
    for _ in range(2000)
  ]
  # Two random draws of 2,000 resamples each.
  np.testing.assert_allclose(
    (low, high), np.quantile(values, [0.025, 0.975]), atol=0.01
  )
  assert low < value < high


def test_interval_of_a_comparison_of_few_runs():
  """Against all resamples there are."""
  x, y = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0])
  values = [
    aggregates._improvement(np.array(xs)[:, None], np.array(ys)[:, None])
    for xs in itertools.product(x, repeat=3)
    for ys in itertools.product(y, repeat=2)
  ]
  found = aggregates.improvement(x[:, None], y[:, None], confidence=0.5)
  assert found[0] == (0.5 + 1 + 1 + 1) / 6
  np.testing.assert_allclose(
    found[1:], np.quantile(values, [0.25, 0.75]), rtol=1e-12
  )


def test_bootstrap_covers_the_truth():
  """About as often as it says, of the mean of ten runs on three tasks."""
  rng = np.random.default_rng(0)
  hits = 0
  for seed in range(200):
    scores = rng.normal(size=(10, 3))
    low, high = aggregates.bootstrap(
      scores, aggregates.mean, resamples=300, confidence=0.9, seed=seed
    )
    hits += low < 0 < high
  # 0.9 less what ten runs miss; four standard deviations of 200 draws.
  assert 0.75 < hits / 200 < 0.97


def test_equal_runs_and_one_run():
  scores = np.ones((3, 2))
  assert aggregates.bootstrap(scores) == (1.0, 1.0)
  assert aggregates._improvement(scores, scores[:1]) == 0.5
  assert aggregates.improvement(scores[:1], 2 * scores) == (0.0, 0.0, 0.0)
  assert aggregates.bootstrap(np.asarray([[1.0, 3.0]])) == (2.0, 2.0)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (
      lambda f: f.bootstrap(np.ones(3)),
      r"scores: got shape \(3,\), expected \(runs, tasks\)",
    ),
    (lambda f: f.bootstrap(np.full((2, 2), np.nan)), "expected finite numbers"),
    (lambda f: f.bootstrap(np.ones((2, 2)), resamples=0), "got 0"),
    (lambda f: f.bootstrap(np.ones((2, 2)), confidence=1.0), "got 1.0"),
    (
      lambda f: f.improvement(np.ones((2, 2)), np.ones((2, 3))),
      "expected the tasks of x, 2",
    ),
    (
      lambda f: f.improvement(np.ones((2, 2)), np.ones((2, 2)), resamples=0),
      "resamples: got 0, expected an integer of at least 1",
    ),
  ],
)
def test_wrong_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call(aggregates)
