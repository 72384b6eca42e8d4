"""Series as they are handed to an estimator, and later ones like them."""

import numpy as np
import pandas as pd
import pytest

from jaxseq import data
from jaxseq import estimators
from jaxseq.estimators import series_input
from tests.estimators import cases


def nested(**columns):
  return pd.DataFrame(
    {
      name: [pd.Series(np.full(length, value)) for length in (3, 4)]
      for name, value in columns.items()
    }
  )


def test_later_frames_have_the_columns_of_training():
  estimator = estimators.SequenceClassifier()
  series_input.read(estimator, nested(x=1.0, y=2.0), reset=True)
  found = series_input.read(estimator, nested(x=3.0, y=4.0), reset=False)
  np.testing.assert_array_equal(found.values[0], [[3.0, 4.0]] * 3)
  for other in (nested(y=4.0, x=3.0), nested(x=3.0, z=4.0)):
    with pytest.raises(
      ValueError, match=r"X: columns: got .*, expected \['x', 'y'\], as in tr"
    ):
      series_input.read(estimator, other, reset=False)
  # Arrays have no names, and are in the same order.
  array = np.zeros((2, 3, 2))
  assert series_input.read(estimator, array, reset=False).channels is None


DAYS = pd.date_range("2024-01-01", periods=10)
SQUARES = DAYS[0] + pd.to_timedelta(np.arange(10) ** 2, unit="D")
X = np.random.default_rng(0).normal(size=(6, 10))
Y = np.arange(6) % 2
TABLE = {"id": "id", "time": "time", "test_fraction": 0.5, "valid_fraction": 0}


def panel(times):
  """A frame with an index of instance and time."""
  ids = np.repeat(list("abcdef"), 10)
  index = pd.MultiIndex.from_arrays([ids, np.tile(times, 6)])
  return pd.DataFrame({"x": X.ravel()}, index)


def listed(times):
  return [pd.DataFrame({"x": row}, times) for row in X]


def nest(times):
  return pd.DataFrame({"x": [pd.Series(row, times) for row in X]})


def probabilities(train, later=None):
  model = estimators.SequenceClassifier(num_updates=2, **cases.SMALL)
  model.fit(train, Y)
  return model.predict_proba(train if later is None else later)


forms = pytest.mark.parametrize("form", [panel, listed, nest])


@forms
def test_series_are_in_the_order_of_their_times(form, caplog):
  wanted = probabilities(X[:, :, None])
  np.testing.assert_array_equal(probabilities(form(DAYS)), wanted)
  assert not caplog.text
  back = form(DAYS)
  if form is panel:
    # The instances stay in their order.
    back = back.iloc[np.arange(60).reshape(6, 10)[:, ::-1].ravel()]
  elif form is listed:
    back = [row[::-1] for row in back]
  else:
    back = back.map(lambda row: row[::-1])
  np.testing.assert_array_equal(probabilities(back), wanted)
  assert "54 of 60 rows have an earlier time" in caplog.text


@forms
def test_unequal_steps_are_read_as_a_file_has_them(form):
  found = probabilities(form(SQUARES))
  assert np.abs(found - probabilities(X[:, :, None])).max() > 1e-3
  # From a table of the same rows.
  index = panel(SQUARES).reset_index(names=["id", "time"])
  splits = data.load(
    "table",
    path=pd.concat([index, index.assign(id=index["id"] + "2")]),
    **TABLE,
  )
  model = estimators.SequenceClassifier(num_updates=2, **cases.SMALL)
  model.fit(form(SQUARES), Y)
  prepared = model.model_.preparation
  assert prepared.gaps == splits.info.preparation.gaps == "channel"
  assert prepared.step == splits.info.preparation.step
  for later, message in (
    (X[:, :, None], "X: index: got 'no times', expected one of times"),
    (form(np.arange(10) ** 2), "X: index: got 'n.*, expected "),
  ):
    with pytest.raises(ValueError, match=message):
      model.predict(later)
  regular = estimators.SequenceClassifier(num_updates=2, **cases.SMALL)
  regular.fit(form(DAYS), Y)
  with pytest.raises(ValueError, match="got a step in time of .*Resample"):
    regular.predict(form(SQUARES))


@forms
def test_a_time_of_a_series_comes_once(form):
  with pytest.raises(ValueError, match="got the time 2024-01-01.* twice"):
    probabilities(form(DAYS[[0, 0, *range(2, 10)]]))


def test_unequal_steps_are_refused_where_they_cannot_be_read():
  encoder = estimators.DisentangledEncoder(num_updates=2)
  with pytest.raises(ValueError, match="X: index: got 'unequal steps'"):
    encoder.fit(panel(SQUARES))
  follower = estimators.SequenceRegressor(stepwise=True, **cases.SMALL)
  with pytest.raises(ValueError, match="'unequal steps', .* to follow streams"):
    follower.partial_fit(panel(SQUARES), X)
  columns = nested(x=1.0, y=2.0)
  columns.loc[1, "y"].index = [1, 2, 3, 5]
  columns = columns.map(lambda row: row.rename_axis("time"))
  with pytest.raises(ValueError, match="X: row 1, column 'y': index: got"):
    probabilities(columns)
  with pytest.raises(ValueError, match="series 1: index: got 'no times'"):
    probabilities([*listed(DAYS)[:1], *listed(np.arange(10))[1:]])
