"""NextItem with rows that come later: `partial_fit`, times, names of users."""

import functools
import pickle

import numpy as np
import pandas as pd
import pytest

from jaxseq import estimators

SMALL = {
  "d_model": 4,
  "num_updates": 1,
  "batch_size": 4,
  "random_state": 0,
  "dropout": 0.0,
  "length": 4,
}
USER, TIME = np.repeat(np.arange(4), 3), np.tile(np.arange(3.0), 4)
ITEM = (USER * 2 + TIME.astype(int)) % 7
COLUMNS = ["user", "item", "time"]
DATES = pd.Timestamp("2024-01-01") + pd.to_timedelta(TIME, unit="D")


@functools.cache
def _pickled(gap):
  """A model, with gaps or without."""
  if gap is None:
    model = estimators.NextItem(**SMALL).fit((USER, ITEM, TIME))
  else:
    model = estimators.NextItem(mixer="s5", gap=gap, **SMALL)
    model.fit((USER, ITEM, DATES))
  return pickle.dumps(model)


def fitted(gap=None):
  return pickle.loads(_pickled(gap))


def frame(*rows):
  return pd.DataFrame(rows, columns=COLUMNS)


def state(model):
  """All that a refusal must not change."""
  table = model.recommend()
  return {name: x.tolist() for name, x in table.items()}


def test_rows_that_come_later_go_on_from_what_is_known():
  model = fitted()
  before = model.n_updates_
  weights = model.model_.variables
  later = frame((0, 6, 5.0), ("new", 1, 0.0), (0, 5, 6.0), ("new", 2, 1.0))
  assert model.partial_fit(later) is model
  assert model.n_updates_ == before + 1
  changed = model.model_.variables["params"]["network"]["embed"]["embedding"]
  assert not np.array_equal(
    changed, weights["params"]["network"]["embed"]["embedding"]
  )
  # An update at this rate, from what was fitted and not from the beginning.
  np.testing.assert_allclose(
    changed,
    weights["params"]["network"]["embed"]["embedding"],
    atol=1.01 * model.learning_rate,
  )
  listed = model.recommend([0, "new"], 3)
  wanted = model.recommend_for([[0, 1, 2, 6, 5], [1, 2]], 3)
  assert listed["item"].tolist() == wanted["item"].tolist()
  np.testing.assert_allclose(listed["score"], wanted["score"], rtol=1e-4)
  model.update("new", 3)
  np.testing.assert_allclose(
    model.recommend(["new"], 3)["score"],
    model.recommend_for([[1, 2, 3]], 3)["score"],
    rtol=1e-4,
  )


def test_the_targets_of_an_update_are_the_new_items():
  model = fitted()
  rows = model._read(frame((0, 6, 5.0), ("one", 1, 0.0)), reset=False)
  numbers, _ = model._numbers(rows)
  part = model._histories.examples(rows.ids, numbers, None, 4)
  assert part.inputs.tolist() == [[1, 2, 3, 0]]
  assert part.targets.tolist() == [[0, 0, 7, 0]]
  long = [np.arange(1, 7, dtype=np.int32)]
  part = model._histories.examples([0], long, None, 2)
  # Three examples, and one without a target.
  assert part.inputs.tolist() == [[4, 5], [2, 3], [3, 1], [3, 1]]
  assert part.targets.tolist() == [[5, 6], [3, 4], [1, 2], [0, 0]]


def test_rows_without_one_before_are_read_without_an_update():
  model = fitted()
  before = model.n_updates_
  model.partial_fit(frame(("a", 1, 0.0), ("b", 2, 0.0)))
  assert model.n_updates_ == before
  assert set(model.recommend(k=1)["user"]) == {0, 1, 2, 3, "a", "b"}


@pytest.mark.slow
def test_the_first_rows_begin_a_network():
  fresh = estimators.NextItem(**SMALL)
  with pytest.raises(ValueError, match="no user with two items"):
    fresh.partial_fit(frame(("a", 1, 0.0)))
  model = fresh.partial_fit((USER, ITEM, TIME))
  assert model.n_updates_ == 1
  again = pickle.loads(pickle.dumps(model))
  for one in (model, again):
    one.partial_fit(frame((0, 6, 5.0)))
  assert model.n_updates_ == 2
  assert state(model) == state(again)
  # A fit forgets it.
  refitted = model.fit((USER, ITEM, TIME))
  assert state(refitted) == state(fitted())


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["sampled", "gbce"])
def test_every_loss_makes_updates(loss):
  model = estimators.NextItem(**SMALL, loss=loss, negatives=3)
  model.fit((USER, ITEM, TIME)).partial_fit(frame((0, 6, 5.0)))
  assert np.isfinite(model.recommend()["score"]).all()


def test_what_cannot_go_on_is_refused_and_changes_nothing():
  model = fitted()
  before, variables = state(model), model.model_.variables
  for rows, message in (
    (
      [(0, 1, 9.0), (0, 66, 9.5)],
      "X: item, row 1: got 66, expected an item of",
    ),
    ([(0, 1, 1.0)], "X: time: got 1.0, expected a time from 2.0 on, .* user 0"),
    ([(0, 1, "2024-01-01")], "X: time: got dtype datetime64.* numbers, as in"),
    ([("", 1, 9.0)], "X: user, row 0: got nothing"),
    ([((1, 2), 1, 9.0)], r"X: user, row 0: got \(1, 2\), expected one name"),
  ):
    with pytest.raises(ValueError, match=message):
      model.partial_fit(frame(*rows))
    assert state(model) == before
    assert model.model_.variables is variables


def test_with_gaps_a_time_is_checked_and_nothing_changes():
  model = fitted(86400.0)
  before = state(model)
  for time, message in (
    (None, "time: got None, expected the time of the item"),
    (pd.NaT, "time: got NaT, expected the time of the item"),
    ("2024-01-01", "time: got '2024-01-01', expected a time from 2024-01-03"),
    (5, "time: got 5, expected a date such as .*, as in training"),
    ("soon", "time: got 'soon', expected a date"),
  ):
    with pytest.raises(ValueError, match=message):
      model.update(0, 1, time)
    with pytest.raises(ValueError, match=r"time: got (None|NaT|5|'soon')"):
      model.update("new", 1, None if time == "2024-01-01" else time)
    assert state(model) == before
  for times, message in (
    (None, "times: got None, expected the times of each of the 1 histories"),
    ([], "times: got '0 entries', expected the times of each of the 1"),
    ([[1, 2]], r"times\[0\]\[0\]: got 1, expected a date"),
    ([["2024-01-01"]], r"times\[0\]: got '1 times', expected one for each of"),
    ([["2024-01-02", "2024-01-01"]], r"times\[0\]: got .* that do not fall"),
    ([["2024-01-02", None]], r"times\[0\]\[1\]: got None, expected a date"),
    (["2024"], r"times\[0\]: got '2024', expected a list"),
  ):
    with pytest.raises(ValueError, match=message):
      model.recommend_for([[1, 2]], times=times)


def test_without_gaps_times_say_no_more_than_the_order():
  model = fitted()
  with pytest.raises(ValueError, match="times: got '1 entries', .* without ga"):
    model.recommend_for([[1, 2]], times=[[0.0, 1.0]])
  before = state(model)
  with pytest.raises(ValueError, match="time: got 1.0, expected a time from 2"):
    model.update(0, 1, 1.0)
  assert state(model) == before
  model.update(0, 3, 8.0).update(0, 4)
  with pytest.raises(ValueError, match="X: time: got 7.0, .* a time from 8.0"):
    model.partial_fit(frame((0, 6, 7.0)))


def test_dates_of_rows_may_be_texts():
  words = np.datetime_as_string(DATES.to_numpy(), "D")
  for times in (words, words.astype(object), words.tolist()):
    rows = estimators.NextItem()._read((USER, ITEM, times), reset=True)
    np.testing.assert_array_equal(
      np.concatenate(rows.times), DATES.to_numpy("datetime64[us]")
    )


@pytest.mark.slow
def test_dates_of_later_items_may_be_texts():
  dated, worded = fitted(86400.0), fitted(86400.0)
  dated.update(0, 4, pd.Timestamp("2024-01-09"))
  worded.update(0, 4, "2024-01-09")
  assert state(dated) == state(worded)
  texts = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-09"]
  listed = worded.recommend_for([[0, 1, 2, 4]], times=[texts])
  wanted = worded.recommend([0])
  np.testing.assert_allclose(listed["score"], wanted["score"], rtol=1e-4)
  # Rows that come later have the gap since what is known.
  later = frame((0, 5, "2024-01-20"), (0, 6, "2024-01-21"))
  worded.partial_fit(later)
  listed = worded.recommend_for(
    [[0, 1, 2, 4, 5, 6]], times=[[*texts, "2024-01-20", "2024-01-21"]]
  )
  wanted = worded.recommend([0])
  np.testing.assert_allclose(listed["score"], wanted["score"], rtol=1e-4)


def test_numbers_among_objects_are_no_dates():
  model = estimators.NextItem(gap=1.0, **SMALL)
  rows = model._read((USER, ITEM, TIME.astype(object)), reset=True)
  assert rows.times[0].tolist() == [0.0, 1.0, 2.0]
  with pytest.raises(
    ValueError, match="X: time, row 1: got 3, expected a numb"
  ):
    model._read(([0, 1], [0, 1], [DATES[0], 3]), reset=True)


def test_users_stay_what_they_are():
  model = fitted().update("newcomer", 1).update(np.int64(2), 0)
  names = model.recommend(k=1)["user"]
  assert names.tolist() == [0, 1, 2, 3, "newcomer"]
  assert model.recommend([3, "newcomer"], 1)["user"].tolist() == [3, "newcomer"]
  assert fitted().recommend(k=1)["user"].dtype.kind == "i"
  mixed = [1, 1, "a", "a"], [1, 2, 3, 4], [0, 1, 0, 1]
  rows = estimators.NextItem()._read(mixed, reset=True)
  assert rows.ids == (1, "a")
  assert model.predict(([*USER, "new"], [*ITEM, 1], [*TIME, 0.0]))["id"][
    [0, -1]
  ].tolist() == [0, "new"]


@pytest.mark.parametrize(
  "user", [None, np.nan, "", ("a", 1), ["a"], {"a": 1}, np.arange(2)]
)
def test_a_user_that_is_no_name_is_refused(user):
  model = fitted()
  before = state(model)
  with pytest.raises(ValueError, match="user: got .*, expected one name, a te"):
    model.update(user, 1)
  with pytest.raises(ValueError, match="users: got .*, expected one name, a t"):
    model.recommend([user])
  assert state(model) == before
