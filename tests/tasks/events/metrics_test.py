"""Metrics of futures against the reference, and the floors that they reward."""

import numpy as np
import pytest
from scipy import integrate

from jaxseq.data import point_processes
from jaxseq.tasks.events import future_baselines
from jaxseq.tasks.events import metrics as event_metrics


def _batches(golden):
  known = golden("events/tmap")

  def both(name):
    return np.concatenate([known[f"b{batch}/{name}"] for batch in range(2)])

  names = ("time", "label", "mask")
  targets = event_metrics.Futures(*(both(f"target_{name}") for name in names))
  names = ("time", "score", "mask")
  said = event_metrics.Predicted(*(both(f"predicted_{name}") for name in names))
  return known, both("initial_time"), targets, said


def test_t_map_is_that_of_the_reference(golden):
  known, start, targets, said = _batches(golden)
  options = {"horizon": float(known["horizon"]), "deltas": known["thresholds"]}
  value = event_metrics.t_map(start, targets, said, **options)
  np.testing.assert_array_equal(value.targets, known["total_targets"])
  for row, delta in zip(value.precision, known["thresholds"]):
    np.testing.assert_allclose(row, known[f"ap/{delta}"], rtol=1e-6)
  np.testing.assert_allclose(value.value, known["tmap"], rtol=1e-6)
  # Neither the order of places nor that of predictions counts.
  order = np.random.default_rng(0).permutation(len(start))
  shuffled = [x[order] for x in said]
  again = event_metrics.t_map(
    start[order],
    event_metrics.Futures(*(x[order] for x in targets)),
    event_metrics.Predicted(*(x[:, ::-1] for x in shuffled)),
    **options,
  )
  np.testing.assert_array_equal(again.precision, value.precision)
  # What is predicted far from all events, behind all others, changes nothing.
  far = event_metrics.Predicted(
    np.concatenate([said.times, start[:, None] - 99], axis=1),
    np.pad(said.scores, ((0, 0), (0, 1), (0, 0)), constant_values=-99),
    np.pad(said.inside, ((0, 0), (0, 1)), constant_values=True),
  )
  again = event_metrics.t_map(start, targets, far, **options)
  np.testing.assert_array_equal(again.precision, value.precision)


@pytest.mark.parametrize(("marks", "wanted"), [(1, 1.0), (2, 0.5)])
def test_a_perfect_prediction_has_the_share_of_marks_with_targets(
  marks, wanted
):
  times = np.array([[1.0, 2.0, 2.5]])
  inside = np.ones((1, 3), bool)
  targets = event_metrics.Futures(times, np.zeros((1, 3), int), inside)
  said = event_metrics.Predicted(times, np.zeros((1, 3, marks)), inside)
  value = event_metrics.t_map(
    np.zeros(1), targets, said, horizon=5, deltas=(0.1,)
  )
  assert value.value == wanted
  # What happens at the horizon itself does not count.
  value = event_metrics.t_map(
    np.zeros(1), targets, said, horizon=2.5, deltas=(0.1,)
  )
  assert value.targets[0] == 2


def test_as_many_as_can_be_are_matched():
  """The best prediction takes the only target that the other could have."""
  targets = event_metrics.Futures(
    np.array([[1.0, 3.0]]), np.zeros((1, 2), int), np.ones((1, 2), bool)
  )
  said = event_metrics.Predicted(
    np.array([[2.0, 0.5]]),
    np.array([[[5.0], [-700.0]]]),
    np.ones((1, 2), bool),
  )
  value = event_metrics.t_map(
    np.zeros(1), targets, said, horizon=9, deltas=(1.0,)
  )
  assert value.value == 1


def test_otd_is_that_of_the_reference(golden):
  known = golden("events/otd")
  inside = np.ones(known["target_time"].shape, bool)
  targets, said = (
    event_metrics.Futures(known[f"{n}_time"], known[f"{n}_label"], inside)
    for n in ("target", "predicted")
  )
  distance = event_metrics.otd(targets, said)
  np.testing.assert_allclose(distance, known["per_sequence"], rtol=1e-12)
  np.testing.assert_allclose(event_metrics.otd(said, targets), distance)
  np.testing.assert_array_equal(event_metrics.otd(said, said), 0)
  others = said._replace(marks=targets.marks + 9)
  costs = {"insert": 2.0, "delete": 3.0}
  far = event_metrics.otd(targets, others, **costs)
  np.testing.assert_array_equal(far, 5.0 * inside.shape[1])
  # A target without a partner is inserted, at its own cost.
  fewer = said._replace(inside=inside & (np.arange(inside.shape[1]) > 0))
  np.testing.assert_array_equal(event_metrics.otd(said, fewer, **costs), 2.0)


def test_floors_are_those_of_the_reference(golden):
  known = golden("events/history_floors")
  events = point_processes.Events(
    known["time"], known["label"], known["lengths"], 10.0
  )
  row, index = np.repeat(np.arange(3), 2), known["index"].ravel()
  places = event_metrics.Places(row, index, events.times[row, index])
  edges, marks = known["horizons"], int(known["num_classes"])
  shares = future_baselines.history_density(events, places, edges, marks)
  # The reference has a row for each interval and mark of its batch.
  label = known["history_density/labels"].reshape(6, 3, 3)
  there = known["history_density/presence_prob"].reshape(label.shape)
  wanted = np.zeros_like(shares)
  np.put_along_axis(wanted, label, there, axis=2)
  np.testing.assert_allclose(shares, wanted, rtol=1e-6)
  table = event_metrics.table(places.time, edges, shares)
  times = known["history_density/timestamps"].reshape(label.shape)
  np.testing.assert_allclose(
    table.times.reshape(6, 3, 4)[..., 0], times[..., 0], rtol=1e-6
  )
  for name in ("mean", "median", "distribution"):
    options = {} if name == "mean" else {name: True}
    future, said = future_baselines.most_popular(
      events, places, marks, int(known["k"]), **options
    )
    for got, key in (
      (future.times, "timestamps"),
      (future.marks, "labels"),
      (said.scores, "labels_logits"),
    ):
      wanted = known[f"most_popular/{name}/{key}"].reshape(got.shape)
      np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_expected_counts_of_a_hawkes_process():
  process = point_processes.Hawkes()
  rng = np.random.default_rng(0)
  events = process.simulate(rng, 40, 50.0)
  places = event_metrics.places(events, ahead=24, step=8)
  edges = (0.5, 2.0, 5.0)
  exact = future_baselines.expected_counts(process, events, places, edges)
  # By the ODE, from the state that the exact density has.
  state = process.excitation(events)[places.row[0], places.event[0]]
  mu, a = np.array(process.mu), np.array(process.a)

  def flow(_, y):
    rate = mu + y[:3]
    return np.concatenate([process.b * (a @ rate - y[:3]), rate])

  start = np.concatenate([state, np.zeros(3)])
  path = integrate.solve_ivp(flow, (0, 5), start, t_eval=edges, rtol=1e-10)
  np.testing.assert_allclose(exact[0].cumsum(axis=0), path.y[3:].T, rtol=1e-6)
  # By samples, which go on from the state.
  samples = 32
  excitation = process.excitation(events)[places.row, places.event]
  drawn = process.simulate(
    rng, samples * len(places.row), 5.0, np.repeat(excitation, samples, axis=0)
  )
  drawn = event_metrics.Futures(
    drawn.times + np.repeat(places.time, samples)[:, None],
    drawn.marks,
    np.arange(drawn.times.shape[1]) < drawn.lengths[:, None],
  )
  futures = event_metrics.Futures(
    *(x.reshape(len(places.row), samples, -1) for x in drawn)
  )
  counts = event_metrics.counts(places.time, edges, futures, 3)
  # Over 100 places and 32 samples of variance about 3 a mean is off by 0.03.
  np.testing.assert_allclose(counts.mean(0), exact.mean(0), atol=0.1)
  # Calibrated counts are worth more than samples, and than one rate for all.
  targets = event_metrics.following(events, places, 24)
  options = {"horizon": 5.0, "deltas": (1.0,)}
  constant = future_baselines.train_rate(events, places, edges, 3)
  one = event_metrics.Predicted(
    *(futures.times[:, 0], np.eye(3)[futures.marks[:, 0]]),
    futures.inside[:, 0],
  )
  oracle, rate, sample = (
    event_metrics.t_map(places.time, targets, said, **options).value
    for said in (
      event_metrics.table(places.time, edges, exact),
      event_metrics.table(places.time, edges, constant),
      one,
    )
  )
  assert oracle > rate > sample
