"""Forecaster: a series known by heart, frames, bad arguments."""

import numpy as np
import pandas as pd
import pytest

import jaxseq
from jaxseq import estimators
from tests.estimators import cases


@pytest.mark.slow
def test_a_sine_is_forecast(tmp_path):
  y = 50 + 10 * np.sin(np.arange(400) / 4)
  forecaster = estimators.Forecaster(
    input_length=32,
    horizon=8,
    num_updates=400,
    learning_rate=1e-2,
    early_stopping=4,
    **cases.SMALL,
  )
  forecaster.fit(y[:320])
  # The mean of what is to come has 0.
  assert forecaster.score(y[300:]) > 0.8
  # Of a constant all is as in scikit-learn.
  assert forecaster.score(np.ones(100)) in (0, 1)
  forecast = forecaster.predict()
  assert forecast.shape == (8,)
  np.testing.assert_array_equal(forecast, forecaster.predict(y[:320]))
  forecaster.save(tmp_path / "model.safetensors")
  model = jaxseq.load(tmp_path / "model.safetensors")
  found = model.predict([y[:320, None]])
  np.testing.assert_array_equal(found["channel_0"], forecast)


@pytest.mark.slow
def test_intervals_of_a_series():
  y = np.random.default_rng(0).normal(size=60)
  options = {"input_length": 6, "horizon": 2, "num_updates": 2, **cases.SMALL}
  forecaster = estimators.Forecaster(
    intervals=True, validation_fraction=0.5, **options
  ).fit(y)
  found = {x: forecaster.predict_interval(level=x) for x in (80, 95)}
  assert found[80].shape == (2, 2)
  middle = forecaster.predict()[:, None]
  # The ends are rounded to float32 each.
  np.testing.assert_allclose(
    found[80].mean(1, keepdims=True), middle, rtol=1e-5
  )
  assert (found[95][:, 1] > found[80][:, 1]).all()
  # From the errors on the half that was held back, in the series' units.
  windows = np.lib.stride_tricks.sliding_window_view(y[30 - 6 :], 8)
  made = [forecaster.predict(window[:6]) for window in windows]
  errors = np.sort(np.abs(made - windows[:, 6:]), axis=0)
  # Of 29 windows the ceil(30 * 0.8)-th.
  np.testing.assert_allclose(
    found[80][:, 1] - middle[:, 0], errors[23], rtol=1e-4
  )
  later = forecaster.predict_interval(y[:20], level=95)
  assert later.mean(axis=1) == pytest.approx(forecaster.predict(y[:20]))
  # The ceil(30 * 0.9)-th, of any level that as many errors can tell.
  np.testing.assert_allclose(
    forecaster.predict_interval(level=90)[:, 1] - middle[:, 0],
    errors[26],
    rtol=1e-4,
  )
  with pytest.raises(ValueError, match="level: got 97, expected 1 to 96"):
    forecaster.predict_interval(level=97)
  with pytest.raises(ValueError, match="level: got 0.9, expected per cent"):
    forecaster.predict_interval(level=0.9)
  with pytest.raises(ValueError, match="got 2 windows to take intervals from"):
    forecaster.set_params(validation_fraction=0.05).fit(y)
  plain = estimators.Forecaster(**options).fit(y)
  with pytest.raises(ValueError, match="fitted with intervals=True"):
    plain.predict_interval()


@pytest.mark.slow
def test_forecasts_of_a_frame():
  frame = pd.DataFrame(
    np.random.default_rng(0).normal(size=(40, 2)), columns=["load", "wind"]
  )
  forecaster = estimators.Forecaster(
    input_length=6, horizon=3, num_updates=2, **cases.SMALL
  )
  assert forecaster.fit(frame).predict().shape == (3, 2)
  assert forecaster.model_.preparation.channels == ("load", "wind")
  with pytest.raises(ValueError, match="y: channels: got 1, expected 2"):
    forecaster.predict(np.ones(10))
  with pytest.raises(ValueError, match="y: got 4 times to train on"):
    forecaster.fit(frame[:4])


def test_the_length_of_inputs_follows_from_the_series():
  options = {"horizon": 3, "num_updates": 2, **cases.SMALL}
  weeks = np.tile(np.arange(7.0), 20)
  model = estimators.Forecaster(**options).fit(weeks)
  assert model.input_length_ == 28  # Four seasons.
  with pytest.raises(ValueError, match="y: times: got 27, expected at least"):
    model.predict(weeks[:27])
  assert model.fit(weeks[:25]).input_length_ == 8  # Half of what is trained on.
  assert model.predict(weeks[:8]).shape == (3,)
  assert np.isfinite(model.score(weeks))
  assert (
    estimators.Forecaster(period=0, **options).fit(weeks).input_length_ == 4
  )
  frame = pd.DataFrame(
    {
      "date": np.tile(pd.date_range("2024-01-01", periods=70), 2),
      "shop": np.repeat(["a", "b"], 70),
      "sales": weeks,
    }
  )
  panel = estimators.Forecaster(time="date", series="shop", **options)
  assert panel.fit(frame).input_length_ == 26
  assert panel.predict().shape == (2, 3)


SMALL = {"input_length": 8, "horizon": 3, "num_updates": 2, **cases.SMALL}
DAYS = pd.date_range("2024-01-01", periods=60)
SERIES = pd.Series(np.arange(60) + np.sin(np.arange(60)), DAYS)


@pytest.fixture(scope="module")
def dated():
  return estimators.Forecaster(**SMALL).fit(SERIES)


@pytest.mark.parametrize("rows", ["newest first", "shuffled"])
def test_rows_are_in_the_order_of_an_index_of_times(dated, rows, caplog):
  other = SERIES[::-1]
  if rows == "shuffled":
    other = SERIES.sample(frac=1, random_state=0)
  found = estimators.Forecaster(**SMALL).fit(other)
  assert "of 60 rows have an earlier time than the row before" in caplog.text
  np.testing.assert_array_equal(found.predict(), dated.predict())
  np.testing.assert_array_equal(dated.predict(other), dated.predict())
  assert dated.score(other) == dated.score(SERIES)


def test_predictions_have_the_times_that_follow(dated):
  def ahead(index, **options):
    part = pd.Series(SERIES.to_numpy()[: len(index)], index)
    model = estimators.Forecaster(**SMALL).fit(part)
    times = model.predictions()["time"]
    np.testing.assert_array_equal(model.predictions(part)["time"], times)
    return times

  wanted = pd.date_range(DAYS[-1], periods=4)[1:]
  np.testing.assert_array_equal(dated.predictions()["time"], wanted)
  earlier = dated.predictions(SERIES[:-5])["time"]
  np.testing.assert_array_equal(earlier, wanted - pd.Timedelta("5D"))
  # Calendars, whose steps are not all equal.
  for frequency in ("B", "ME"):
    dates = pd.date_range("2024-01-01", periods=63, freq=frequency)
    np.testing.assert_array_equal(ahead(dates[:60]), dates[60:])
  months = pd.period_range("2024-01", periods=60, freq="M")
  np.testing.assert_array_equal(
    ahead(months), pd.date_range("2029-01", periods=3, freq="MS")
  )
  # A day of summer time is shorter.
  local = pd.date_range("2024-03-01", periods=63, tz="Europe/Berlin")
  utc = local.tz_convert(None)
  np.testing.assert_array_equal(ahead(local[:60]), utc[60:])
  numbers = pd.Index(1.7e9 + 60 * np.arange(60), name="time")
  assert (ahead(numbers) - 1.7e9).tolist() == [3600, 3660, 3720]
  np.testing.assert_array_equal(ahead(DAYS.strftime("%Y-%m-%d")), wanted)
  # A number of the row is not a time.
  plain = estimators.Forecaster(**SMALL).fit(SERIES.reset_index(drop=True))
  assert "time" not in plain.predictions()


def test_what_is_not_one_series_of_equal_steps_is_refused(dated):
  frame = SERIES.to_frame("x")
  several = pd.concat({"a": frame, "b": frame})
  for y, message in (
    (SERIES.drop(DAYS[50]), "y: got 2024-02-21.*172800 seconds.*reindex"),
    (pd.concat([SERIES, SERIES[:1]]), "y: got the time 2024-01-01.* twice"),
    (several, r"y: got an index of 2 levels, .*y.xs\(NAME\)"),
    (frame.reset_index(names="date"), r"'date': got .*y.set_index\('date'\)"),
    (
      frame.assign(time=np.arange(60.0)),
      r"'time': got numbers that are times.*y.set_index\('time'\)",
    ),
    (frame.assign(note="a"), r"column 'note': .*y.drop\(columns=\['note'\]\)"),
  ):
    for call in (estimators.Forecaster(**SMALL).fit, dated.predict):
      with pytest.raises(ValueError, match=message):
        call(y)
  hours = pd.Series(
    SERIES.to_numpy(), pd.date_range(DAYS[0], periods=60, freq="h")
  )
  with pytest.raises(ValueError, match="y: index: got a step in time of 3600"):
    dated.predict(hours)
  # One row is one step.
  holes = estimators.Forecaster(**SMALL).fit(SERIES.drop(DAYS[50]).to_numpy())
  assert np.isfinite(holes.predict()).all()


def shops(count=60, later=3):
  """Two shops that sell by the day of the week, at twice the price a half."""
  parts = []
  for shop, level in (("A", 1.0), ("B", 50.0)):
    days = pd.date_range("2024-01-01", periods=count + later)
    price = 1.0 + (np.arange(count + later) * 7 % 5 == 0)
    sales = level * (5 + np.arange(count + later) % 7) / price
    sales[count:] = np.nan
    columns = {"day": days, "shop": shop, "sales": sales, "price": price}
    parts.append(pd.DataFrame(columns))
  return pd.concat(parts)


PANEL = {"time": "day", "series": "shop", "known": "price"}


@pytest.fixture(scope="module")
def panel():
  return estimators.Forecaster(**SMALL, **PANEL).fit(shops())


def test_a_panel_is_forecast_series_by_series(panel, tmp_path, caplog):
  assert panel.series_ == ("A", "B")
  assert panel.predict().shape == (2, 3)
  found = panel.predictions()
  assert found["shop"].tolist() == ["A"] * 3 + ["B"] * 3
  np.testing.assert_array_equal(
    found["time"][:3], pd.date_range("2024-03-01", periods=3)
  )
  np.testing.assert_array_equal(found["sales"][3:], panel.predict()[1])
  # On the scale of each, by their names, in any order.
  later = panel.predict(shops().sample(frac=1, random_state=1).iloc[::-1])
  np.testing.assert_allclose(np.sort(later, 0), np.sort(panel.predict(), 0))
  # A shop that was not in the training, in its own units.
  other = shops().query("shop == 'B'").assign(shop="new")
  new = panel.predict(other)
  assert "were not in the training" in caplog.text
  assert 100 < new.mean() < 900
  panel.save(tmp_path / "model.safetensors")
  model = jaxseq.load(tmp_path / "model.safetensors")
  np.testing.assert_array_equal(model.predict(shops())["sales"], found["sales"])


def test_a_panel_has_parts_and_sentences_of_its_own(panel):
  with pytest.raises(ValueError, match="got 0 rows behind the last value, exp"):
    panel.predict(shops(later=0))
  without = estimators.Forecaster(**SMALL, **PANEL).fit(shops(later=0))
  with pytest.raises(ValueError, match="y: series 'A': got 0 rows behind the"):
    without.predict()
  with pytest.raises(
    ValueError, match="y: got 'ndarray', expected a frame with"
  ):
    panel.predict(np.ones((20, 1)))
  with pytest.raises(ValueError, match="'A': got 9 times in the training span"):
    panel.score(shops(count=9))
  options = {**SMALL, **PANEL, "early_stopping": 1, "evaluations": 2}
  model = estimators.Forecaster(**options, intervals=True).fit(shops())
  assert model.predict_interval().shape == (2, 3, 2)
  assert len(model.history_["valid_mse"]) == 2
  # Of 60 times of each shop twice six are held back.
  windows = shops(48).dropna()
  assert model.model_.preparation.mean == pytest.approx(
    windows.groupby("shop")["sales"].mean().tolist()
  )


@pytest.mark.slow
def test_what_is_known_ahead_is_learnt():
  options = {**SMALL, "num_updates": 600, "d_model": 16, "learning_rate": 1e-2}
  forecaster = estimators.Forecaster(**options, **PANEL).fit(shops(120, 5))
  assert forecaster.score(shops(120, 5)) > 0.8
  truth = (5 + (120 + np.arange(3)) % 7) / (
    1 + ((120 + np.arange(3)) * 7 % 5 == 0)
  )
  np.testing.assert_allclose(forecaster.predict()[0], truth, rtol=0.2)


def test_it_goes_on_with_pieces_of_a_series():
  rng = np.random.default_rng(0)
  first, second = rng.normal(size=30), 5 + 3 * rng.normal(size=40)
  model = estimators.Forecaster(**SMALL).partial_fit(first)
  assert model.partial_fit(second).n_updates_ == 2
  # The scale is that of both pieces, and a forecast is of the end of the last.
  both = np.concatenate([first, second])
  prepared = model.model_.preparation
  np.testing.assert_allclose(prepared.mean, [both.mean()])
  np.testing.assert_allclose(prepared.deviation, [both.std()])
  np.testing.assert_array_equal(model.predict(), model.predict(second))
  with pytest.raises(ValueError, match="got a network without intervals"):
    model.predict_interval()
  with pytest.raises(ValueError, match="expected at least 11"):
    model.partial_fit(second[:9])
  with pytest.raises(ValueError, match="none in partial_fit"):
    estimators.Forecaster(**SMALL, **PANEL).partial_fit(shops())


def test_updates_learn_as_much_as_a_fit():
  time = np.arange(400)
  series = np.sin(2 * np.pi * time / 12)
  options = {**SMALL, "learning_rate": 1e-2, "period": 0}
  model = estimators.Forecaster(**options).partial_fit(series[:200])
  before = model.score(series[200:])
  for _ in range(60):
    model.partial_fit(series[:200])
  assert before < 0.5 < 0.9 < model.score(series[200:])
