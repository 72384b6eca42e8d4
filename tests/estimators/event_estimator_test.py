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
