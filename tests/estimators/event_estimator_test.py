"""EventModel: gaps and marks that can be known."""

import numpy as np
import pytest

from jaxseq import estimators
from jaxseq.training.comparison import supervised_arms


@pytest.mark.slow
def test_events_come_at_their_rate():
  """Regular gaps of 2, and marks in turn."""
  times = [2.0 * np.arange(1, 20) + shift for shift in np.linspace(0, 1, 40)]
  marks = [np.array(["a", "b"])[np.arange(19) % 2] for _ in times]
  model = estimators.EventModel(
    num_updates=300, learning_rate=1e-2, d_model=16, random_state=0
  )
  model.fit(times, marks)
  found = model.predict(times[:1], marks[:1])
  coming = np.isnan(found["gap"])
  assert coming.sum() == 1
  # The gap is always 2.
  assert abs(found["gap_expected"][coming][0] - 2) < 0.5
  assert found["mark"][coming][0] == "b"
  assert model.score(times, marks) > -1


def test_events_in_memory_have_an_arm():
  """It measures nothing more, as the process is not known."""
  model = estimators.EventModel(d_model=2, components=1)
  material = model._material(model._read([[1.0, 2.0]], reset=True), 0)
  config = supervised_arms.Supervised(arms={"model": {}})
  assert model._arm(material, config).more(None, None, None) == {}


@pytest.mark.parametrize(
  ("times", "message"),
  [
    ([1.0, 2.0], r"times\[0\]: got shape \(\), expected a sequence"),
    ([["1", "2"]], r"times\[0\]: got '1', expected numbers or dates"),
    ([[1.0], [2.0, np.nan]], r"times\[1\]: got 'nan', expected finite times"),
    (
      [np.array(["2024-01-01", "NaT"], "datetime64[D]")],
      r"times\[0\]: got 'NaT', expected finite times",
    ),
  ],
)
@pytest.mark.parametrize("kind", ["EventModel", "HawkesModel"])
def test_times_are_sequences_of_numbers(kind, times, message):
  with pytest.raises(ValueError, match=message):
    getattr(estimators, kind)().fit(times)


@pytest.mark.parametrize(
  ("marks", "message"),
  [
    ([["a"]], "marks: got other numbers of events than times"),
    (["a"], r"marks\[0\]: got shape \(\), expected a sequence of marks"),
    ([1], r"marks\[0\]: got shape \(\), expected a sequence of marks"),
    ([np.ones((2, 2))], r"marks\[0\]: got shape \(2, 2\), expected a sequ"),
  ],
)
def test_marks_fit_times(marks, message):
  with pytest.raises(ValueError, match=message):
    estimators.EventModel().fit([[1.0, 2.0]], marks)


ROWS = [[1.0, 1.5, 4.0], [0.5, 3.0, 3.25, 3.5], [2.0, 2.25]]
MARKS = [[0, 1, 0], [1, 0, 0, 1], [0, 1]]


def small(kind, **options):
  """An estimator of events that is fitted at once."""
  if kind == "HawkesModel":
    return estimators.HawkesModel(b=1.0, **options)
  return estimators.EventModel(
    d_model=4, components=2, num_updates=2, random_state=0, **options
  )


kinds = pytest.mark.parametrize("kind", ["EventModel", "HawkesModel"])


@kinds
def test_a_score_counts_the_silence_that_was_observed(kind):
  """Whatever the model was trained on, and of each sequence by itself."""
  model = small(kind).fit(ROWS, MARKS, observed_until=50.0)
  held = [[0.5, 1.0], [2.0]], [[0, 1], [1]]
  parts = [
    model.score([t], [m], observed_until=end) * len(t)
    for t, m, end in zip(*held, (5.0, 3.0))
  ]
  score = model.score(*held, observed_until=[5.0, 3.0])
  np.testing.assert_allclose(score, sum(parts) / 3, rtol=1e-5)
  assert score != model.score(*held, observed_until=50.0)
  # As in `fit`, the last event of all ends the observation if nothing is said.
  assert model.score(*held) == model.score(*held, observed_until=2.0)
  given = small(kind, observed_until=50.0).fit(ROWS, MARKS)
  assert given.score(*held) == given.score(*held, observed_until=50.0)
  expected = "expected the last event of sequence 1, 2, or later"
  with pytest.raises(ValueError, match=f"observed_until: got 1.5, {expected}"):
    model.score(*held, observed_until=[5.0, 1.5])
  with pytest.raises(ValueError, match=r"got shape \(3,\), expected one end"):
    model.score(*held, observed_until=[5.0, 5.0, 5.0])


@kinds
def test_a_fit_knows_the_end_of_each_sequence(kind):
  one = small(kind).fit(ROWS, MARKS, observed_until=[4.0, 5.0, 6.0])
  other = small(kind).fit(ROWS, MARKS, observed_until=6.0)
  ends = {"observed_until": [4.0, 5.0, 6.0]}
  assert one.score(ROWS, MARKS, **ends) > other.score(ROWS, MARKS, **ends)
  alike = small(kind).fit(ROWS, MARKS, observed_until=[6.0] * 3)
  np.testing.assert_allclose(
    alike.score(ROWS, MARKS), other.score(ROWS, MARKS), rtol=1e-5
  )


@kinds
def test_a_stream_without_events_leaves_marks_what_they_are(kind):
  model = small(kind, observed_until=5.0).fit([*ROWS, []], [*MARKS, []])
  assert model.classes_.tolist() == [0, 1]
  assert model.classes_.dtype.kind == "i"
  whole = [np.array(row, float) for row in MARKS]
  assert model.score(ROWS, whole) == model.score(ROWS, MARKS)


@kinds
def test_numbers_since_1970_have_a_start(kind):
  wanted = small(kind, observed_until=6.0).fit(ROWS, MARKS)
  late = [np.array(row) * 1e3 + 1.7e12 for row in ROWS]
  model = small(kind, start=1.7e12, observed_until=1.7e12 + 6e3)
  if kind == "HawkesModel":
    model.b = 1e-3
  nats = model.fit(late, MARKS).score(late, MARKS)
  # A density by milliseconds is a thousandth of that by seconds.
  np.testing.assert_allclose(
    nats + np.log(1e3), wanted.score(ROWS, MARKS), rtol=1e-4
  )
  message = (
    r"times\[1\]: got the first event of all at 1700000000500, .*start=17"
  )
  with pytest.raises(ValueError, match=message):
    small(kind).fit(late, MARKS)
  with pytest.raises(ValueError, match=message):
    wanted.score(late, MARKS)
  kept = small(kind, start=0).fit(late, MARKS)
  assert np.isfinite(kept.score(late, MARKS))


@kinds
def test_times_and_start_are_of_one_kind(kind):
  dates = np.datetime64("2024-01-01", "s") + 60 * np.arange(1, 4)
  for times, options, message in (
    (
      [dates, [1.0]],
      {},
      r"times\[1\]: got 'numbers', expected dates, as",
    ),
    (
      [[], [1.0], dates],
      {},
      r"times\[2\]: got 'dates', expected numbers",
    ),
    (ROWS, {"start": "2024-01-01"}, "start: got '2024.*expected a number"),
    (
      [dates],
      {"observed_until": 5.0},
      "observed_until: got 5.0, expected a",
    ),
  ):
    with pytest.raises(ValueError, match=message):
      small(kind, **options).fit(times)
  until = {"observed_until": "2024-01-01 00:10"}
  early = small(kind, start="2023-12-31 23:50", **until).fit([dates])
  assert early.score([dates]) < small(kind, **until).fit([dates]).score([dates])


@kinds
@pytest.mark.parametrize(
  "size", [1e-6, pytest.param(1e12, marks=pytest.mark.slow)]
)
def test_a_unit_of_time_changes_densities_alone(kind, size):
  def score(size):
    model = small(kind)
    if kind == "HawkesModel":
      model.b = 1 / size
    rows = [size * np.array(row) for row in ROWS]
    return model.fit(rows, MARKS).score(rows, MARKS)

  wanted = score(1.0)
  assert abs(wanted) > 0.1
  np.testing.assert_allclose(score(size) + np.log(size), wanted, rtol=1e-4)
