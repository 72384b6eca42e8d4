"""Panels in tables of one's own: many series, and columns known ahead."""

import logging

import numpy as np
import pytest

from jaxseq import data
from tests.data import writing

SIZES = {"input_length": 4, "horizon": 2}
HEAD = "day,shop,sales,price,holiday,region"


def write(folder, lines):
  writing.write(folder, {"sales.csv": "\n".join(lines) + "\n"})
  return folder / "sales.csv"


def rows(name, count, later=0, first="2024-01-30", level=1.0):
  """Rows of a shop whose sales are the day's number, in its own unit."""
  days = np.datetime64(first) + np.arange(count + later)
  return [
    f"{day},{name},{level * i if i < count else ''},{2 + i % 3},"
    f"{'fair' if i % 7 == 0 else ''},{name * 2}"
    for i, day in enumerate(days)
  ]


def sales(later=0):
  return [HEAD, *rows("A", 40, later), *rows("B", 30, later, level=1000.0)]


def load(path, **options):
  named = {"time": "day", "series": "shop", **SIZES}
  return data.load("forecast_table", path=path, **{**named, **options})


def test_each_series_has_its_own_spans_and_scale(tmp_path):
  options = {"ignore": "price,holiday,region"}
  splits = load(write(tmp_path, sales()), **options)
  assert splits.info.channels == ("sales",)
  numbers = splits.train.extras.series
  # 70 % of 40 and of 30 times have so many windows of six.
  assert [(numbers == i).sum() for i in (1, 2)] == [23, 16]
  prepared = splits.info.preparation
  shop = data.take(splits.train, numbers == 2)
  found = prepared.restore(shop.inputs, shop)[0, :, 0]
  np.testing.assert_allclose(found, [0, 1000, 2000, 3000], atol=1e-2)
  np.testing.assert_allclose(
    shop.extras.scale[0, 0], 1000 * np.arange(21).mean()
  )
  shop = data.take(splits.test, splits.test.extras.series == 2)
  found = prepared.restore(shop.targets, shop)[:, 0, 0]
  np.testing.assert_allclose(found, 1000 * np.arange(24, 29), rtol=1e-5)
  # The order of the rows is of no matter.
  lines = sales()
  again = load(write(tmp_path, [lines[0], *lines[:0:-1]]), **options)
  a, b = (
    data.take(x.train, x.train.extras.series == number)
    for x, number in ((splits, 1), (again, 2))
  )
  np.testing.assert_array_equal(a.inputs, b.inputs)


def test_forecasts_go_on_from_the_end_of_each_series(tmp_path, caplog):
  options = {"channels": "sales"}
  path = write(tmp_path, sales())
  prepared = load(path, **options).info.preparation
  later = [HEAD, *rows("B", 9, level=1000.0), *rows("new", 6, level=7.0)]
  found = prepared.read(write(tmp_path, later))
  assert found.ids == ("B", "new")
  assert found.dataset.extras.series.tolist() == [2, 0]
  assert (
    "1 series, such as series 'new', were not in the training" in caplog.text
  )
  np.testing.assert_allclose(
    prepared.restore(found.dataset.inputs, found.dataset)[..., 0],
    [[5000, 6000, 7000, 8000], [14, 21, 28, 35]],
    rtol=1e-5,
  )
  # That of its own values.
  assert found.dataset.extras.scale[1, 0] == pytest.approx(7 * 2.5)
  days = found.times.astype("datetime64[D]").astype(str).tolist()
  assert days == [["2024-02-08", "2024-02-09"], ["2024-02-05", "2024-02-06"]]
  # Arrays have no names, or some of the training.
  values = np.arange(6.0)[:, None]
  assert prepared.prepare([values]).extras.series.tolist() == [0]
  named = prepared.prepare({"B": 1000 * values, "A": values})
  assert named.extras.series.tolist() == [2, 1]


def test_what_is_known_ahead_is_read_of_the_times_to_come(tmp_path):
  options = {"known": "price,holiday", "static": "region"}
  splits = load(write(tmp_path, sales(later=3)), **options)
  prepared = splits.info.preparation
  assert prepared.channels == ("sales",)
  assert prepared.features == (
    *("price", "holiday=", "holiday=fair", "region=AA", "region=BB"),
  )
  # The same windows as without the rows to come.
  plain = load(write(tmp_path, sales()), channels="sales")
  np.testing.assert_array_equal(splits.test.inputs, plain.test.inputs)
  known = splits.train.extras.known
  assert known.shape == (39, 6, 5)
  np.testing.assert_array_equal(known[0, :, 2], [1, 0, 0, 0, 0, 0])
  np.testing.assert_array_equal(known[3, :, 2], [0, 0, 0, 0, 1, 0])
  assert (known[-1, :, 3:] == [0, 1]).all()
  price = known[..., 0] * prepared.feature_deviation[0]
  price += prepared.feature_mean[0]
  np.testing.assert_allclose(price[0], [2, 3, 4, 2, 3, 4], rtol=1e-6)
  found = prepared.read(write(tmp_path, sales(later=3)))
  # B ends with row 29, and row 30, behind it, has the price 2 + 30 % 3.
  price = found.dataset.extras.known[1, :, 0] * prepared.feature_deviation[0]
  price += prepared.feature_mean[0]
  np.testing.assert_allclose(price, [4, 2, 3, 4, 2, 3], rtol=1e-6)
  assert found.times[1].astype("datetime64[D]").astype(str).tolist() == [
    *("2024-02-29", "2024-03-01"),
  ]
  with pytest.raises(
    ValueError,
    match="series 'A': got 1 rows behind the last value, expected at least 2, "
    "the times to forecast, with the columns 'price', 'holiday', which are",
  ):
    prepared.read(write(tmp_path, sales(later=1)))
  lines = [",".join(x.split(",")[:3]) for x in sales(later=2)]
  path = write(tmp_path, lines)
  with pytest.raises(ValueError, match="there is no column 'price', expected"):
    prepared.read(path)
  with pytest.raises(
    ValueError, match="expected a frame or file, as these col"
  ):
    prepared.prepare([np.ones((6, 1))])


def test_one_series_may_have_columns_that_are_known_ahead(tmp_path):
  lines = [HEAD, *rows("A", 40, 2)]
  options = {"series": None, "known": "price", "channels": "sales"}
  splits = load(write(tmp_path, lines), **options)
  assert splits.train.extras.series is None
  assert splits.train.extras.known.shape[-1] == 1
  prepared = splits.info.preparation
  found = prepared.read(write(tmp_path, lines))
  assert found.ids == ("2024-03-09T00:00:00.000000",)
  restored = prepared.restore(found.dataset.inputs, found.dataset)
  np.testing.assert_allclose(restored[0, :, 0], range(36, 40), rtol=1e-5)


def test_numbers_may_be_names(tmp_path, caplog):
  lines = [HEAD, *rows("A", 40, 2)]
  options = {"series": None, "known": "price", "channels": "sales"}
  path = write(tmp_path, lines)
  prepared = load(path, categories="price", **options).info.preparation
  assert prepared.features == ("price=2", "price=3", "price=4")
  # A frame has them as floats once it lacks one.
  other = [x.replace(",3,", ",3.0,").replace(",4,", ",5,") for x in lines]
  found = prepared.read(write(tmp_path, other)).dataset.extras.known[0]
  assert found.sum(axis=-1).tolist() == [1, 1, 0, 1, 1, 0]
  assert "column 'price': got '5', which no row of the training" in caplog.text


def test_values_that_lack_are_filled_series_by_series(tmp_path, caplog):
  lines = sales()
  lines[8] = lines[8].replace(",7.0,", ",,")
  options = {"channels": "sales", "missing": "forward_fill", "normalize": False}
  path = write(tmp_path, lines)
  with caplog.at_level(logging.WARNING):
    splits = load(path, **options)
  assert "1.3 % of the values are missing and are filled" in caplog.text
  assert splits.train.inputs[5, :, 0].tolist() == [5, 6, 6, 8]
  assert splits.train.extras.observed[5, :4, 0].tolist() == [1, 1, 0, 1]
  with pytest.raises(ValueError, match="series 'A': got nan at time 7"):
    load(path, **{**options, "missing": "refuse"})
  head, *others = sales()
  first = [x for x in others if ",A," in x]
  empty = [
    f"{x.split(',')[0]},B,{5 if i > 25 else ''},2,,B"
    for i, x in enumerate(first)
  ]
  path = write(tmp_path, [head, *first, *empty[:30]])
  with pytest.raises(
    ValueError, match="'B': got no value of 'sales' in the tra"
  ):
    load(path, **options)


def months(name, count):
  at = np.datetime64("2020-01") + np.arange(count)
  return [f"{month},{name},{i},2,,x" for i, month in enumerate(at)]


def test_series_share_one_calendar(tmp_path):
  lines = [HEAD, *months("A", 60), *months("B", 32)]
  prepared = load(write(tmp_path, lines), channels="sales").info.preparation
  found = prepared.read(tmp_path / "sales.csv").times.astype("datetime64[M]")
  assert found[1].astype(str).tolist() == ["2022-09", "2022-10"]
  hours = np.datetime64("2024-01-01T00") + np.arange(60)
  lines = [HEAD, *(f"{x},A,1,2,,x" for x in hours), *rows("B", 40)]
  path = write(tmp_path, lines)
  with pytest.raises(ValueError, match="series 'B': got a step in time of 864"):
    load(path, channels="sales")


@pytest.mark.parametrize(
  ("lines", "options", "message"),
  [
    (
      [HEAD, *rows("C", 9)],
      {},
      "series 'C': got 1 times in the test span, expected at least 2 for input",
    ),
    (
      [HEAD, *rows("C", 5)],
      {},
      "series 'C': got 3 times in the training sp",
    ),
    (
      [*sales(), "2024-01-30,A,1,2,,AA"],
      {},
      r"line 72: column 'day': got 2024-01-30.* twice in series 'A'",
    ),
    (
      [*sales(), "2024-04-01,,1,2,,AA"],
      {},
      "line 72: column 'shop': got nothing, expected the name of a series",
    ),
    (
      [*sales(), "2024-03-10,A,1,2,,BB"],
      {"static": "region"},
      "line 72: column 'region': got 'BB' where 'A' has 'AA' before",
    ),
    (
      [*sales(), "2024-03-10,A,1,,,AA"],
      {"known": "price"},
      "line 72: column 'price': got '', expected a number, as the column is kn",
    ),
    (sales(), {"known": "sales"}, "got 'sales' twice, expected one use of it"),
    (
      sales(),
      {"known": "price", "steps": "insert"},
      "steps: got 'insert', exp",
    ),
    (sales(), {"categories": "price"}, "categories: got 'price', expected one"),
    (sales(), {"series": "shops"}, "there is no column 'shops', expected one"),
    (
      [*sales(), *rows("C", 20, first="2024-02-20")],
      {"valid_from": "2024-02-15", "test_from": "2024-02-20"},
      "expected times in this order between .*, those of series 'C'",
    ),
  ],
)
def test_wrong_panels_are_refused_with_their_place(
  tmp_path, lines, options, message
):
  with pytest.raises(ValueError, match=message):
    load(write(tmp_path, lines), **{"channels": "sales"} | options)


def test_series_that_are_too_short_are_left_out(tmp_path, caplog):
  lines = [*sales(), *rows("New", 5)]
  options = {"known": "price,holiday", "static": "region"}
  splits = load(write(tmp_path, lines), **options)
  assert splits.info.preparation.names == ("A", "B")
  assert splits.info.summary["left_out"] == 1
  assert splits.info.summary["series"] == ["A", "B"]
  (message,) = caplog.messages
  assert "sales.csv: 1 series are left out" in message
  assert "'New'" in message
  # Its forecasts are those of a series that the training did not have.
  later = [HEAD, *rows("New", 5, later=2)]
  path = write(tmp_path, later)
  found = splits.info.preparation.read(path)
  assert found.ids == ("New",)
  assert found.dataset.extras.series.tolist() == [0]
  # If most series are short, the sizes are wrong.
  lines = [*sales(), *rows("New", 5), *rows("Newer", 5), *rows("Newest", 5)]
  with pytest.raises(ValueError, match="'New': got 3 times in the training sp"):
    load(write(tmp_path, lines), **options)
