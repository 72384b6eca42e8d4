"""NextItem: frames, known and new users, lists of what is allowed, events."""

import pickle

import numpy as np
import pandas as pd
import pytest

import jaxseq
from jaxseq import estimators
from jaxseq.estimators import item_histories
from jaxseq.tasks import recommendation
from jaxseq.tasks.recommendation import answers as recommendation_answers

SMALL = {
  "d_model": 8,
  "num_updates": 2,
  "batch_size": 4,
  "random_state": 0,
  "dropout": 0.0,
}
RNG = np.random.default_rng(0)


def frame(users=6, events=5, items=9):
  rows = [
    (f"u{user}", f"i{item}", time)
    for user in range(users)
    for time, item in enumerate(RNG.permutation(items)[:events])
  ]
  table = pd.DataFrame(rows, columns=["user", "item", "time"])
  return table.sample(frac=1, random_state=0)


FRAME = frame()


@pytest.fixture(scope="module")
def model():
  return estimators.NextItem(**SMALL).fit(FRAME)


def history(user, table=FRAME):
  return table[table.user == user].sort_values("time").item.tolist()


def test_known_users_get_what_they_have_not_taken(model):
  found = model.recommend(["u3", "u1"], 3)
  assert found["user"].tolist() == ["u3"] * 3 + ["u1"] * 3
  assert found["rank"].tolist() == [1, 2, 3] * 2
  assert not set(found["item"][:3]) & set(history("u3"))
  again = model.recommend(["u3"], 9, filter_viewed=False)
  assert set(again["item"]) == set(model.items_)
  # All users, and fewer than k where no more are left.
  every = model.recommend(k=20)
  assert every.num_rows == 6 * 4
  assert model.recommend([]).num_rows == 0
  listed = model.recommend(["u3"], items=[*history("u3")[:2], found["item"][1]])
  assert listed["item"].tolist() == [found["item"][1]]


def test_new_users_and_sessions_are_as_known_ones(model, tmp_path):
  known = model.recommend(["u0", "u5"], 4)
  new = model.recommend_for([history("u0"), history("u5")], 4)
  assert new["user"].tolist() == [0] * 4 + [1] * 4
  np.testing.assert_array_equal(new["item"], known["item"])
  np.testing.assert_allclose(new["score"], known["score"], rtol=1e-4)
  # The model's file says so, too, of the frame and of a file with its columns.
  model.save(tmp_path / "model.safetensors")
  FRAME.to_csv(tmp_path / "rows.csv", index=False)
  loaded = jaxseq.load(tmp_path / "model.safetensors")
  for saved in (
    model.predict(FRAME),
    loaded.predict(FRAME),
    loaded.predict(tmp_path / "rows.csv"),
  ):
    rows = saved["id"] == "u5"
    np.testing.assert_array_equal(saved["item"][rows], known["item"][4:])


def test_an_event_changes_its_user_alone():
  model = estimators.NextItem(**SMALL).fit(FRAME)
  before = model.recommend(["u1"])
  model.update("u0", before["item"][0]).update("new", "i3")
  np.testing.assert_array_equal(
    model.recommend(["u1"])["score"], before["score"]
  )
  longer = [*history("u0"), before["item"][0]]
  found = model.recommend(["u0", "new"], 3)
  wanted = model.recommend_for([longer, ["i3"]], 3)
  np.testing.assert_array_equal(found["item"], wanted["item"])
  np.testing.assert_allclose(found["score"], wanted["score"], rtol=1e-4)
  again = pickle.loads(pickle.dumps(model))
  np.testing.assert_array_equal(
    again.recommend()["item"], model.recommend()["item"]
  )


@pytest.mark.slow
def test_times_reach_the_mixer(tmp_path):
  options = {**SMALL, "mixer": "s5", "gap": 1.0}
  model = estimators.NextItem(**options).fit(FRAME)
  known = model.recommend(["u2"], 4)
  near, far = (
    model.recommend_for([history("u2")], 4, times=[np.arange(5) * scale])
    for scale in (1, 1000)
  )
  np.testing.assert_allclose(near["score"], known["score"], rtol=1e-4)
  assert not np.allclose(far["score"], near["score"], rtol=1e-3)
  model.update("u2", known["item"][0], 8)
  wanted = model.recommend_for(
    [[*history("u2"), known["item"][0]]], 3, times=[[0, 1, 2, 3, 4, 8]]
  )
  np.testing.assert_allclose(
    model.recommend(["u2"], 3)["score"], wanted["score"], rtol=1e-4
  )
  model.save(tmp_path / "model.safetensors")
  loaded = jaxseq.load(tmp_path / "model.safetensors")
  assert loaded.preparation.gap == 1.0


@pytest.mark.slow
def test_a_ring_is_learnt_and_scored():
  rows = [(u, (u + t) % 9, t) for u in range(60) for t in range(6)]
  table = pd.DataFrame(rows, columns=["who", "what", "when"])
  model = estimators.NextItem(
    d_model=16,
    num_updates=200,
    learning_rate=1e-2,
    early_stopping=20,
    columns=("who", "what", "when"),
    random_state=0,
  ).fit(table)
  assert model.history_["valid_ndcg_10"][-1] > 0.9
  assert model.score(table) > 0.9
  assert model.recommend_for([[4, 5, 6]], 1)["item"].tolist() == [7]


def test_many_users_are_scored_some_at_a_time(model, monkeypatch):
  sizes, plain = [], recommendation.Problem.scores

  def scores(problem, variables, batch, key=None):
    sizes.append(len(batch.inputs))
    return plain(problem, variables, batch, key)

  monkeypatch.setattr(recommendation.Problem, "scores", scores)
  once = model.score(FRAME)
  copies = [FRAME.assign(user=FRAME.user + str(i)) for i in range(50)]
  np.testing.assert_allclose(model.score(pd.concat(copies)), once, rtol=1e-5)
  assert max(sizes) == 128


def test_what_is_wrong_is_named(model):
  with pytest.raises(
    ValueError, match=r"X: columns: got .*one 'time' among.*columns="
  ):
    estimators.NextItem().fit(FRAME[["user", "item"]])
  with pytest.raises(
    ValueError, match=r"lengths of columns: got \[1, 1\], exp"
  ):
    estimators.NextItem().fit(([1], [2]))
  with pytest.raises(
    ValueError, match="X: got 'no user with two items'.* among the 2 rows, one"
  ):
    estimators.NextItem().fit(([1, 2], [3, 4], [5, 6]))
  with pytest.raises(ValueError, match="items: got 'odd', expected one of the"):
    model.recommend_for([["odd"]])
  with pytest.raises(ValueError, match="users: got 'odd', expected one that"):
    model.recommend(["odd"])


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    (
      None,
      "X: got None, expected a frame, or the three columns user, item and",
    ),
    (5, "X: got 'int', expected a frame"),
    (
      "a.csv",
      r"X: got 'a.csv', .* pandas.read_csv\('a.csv'\).* recommend --data=a.csv",
    ),
    (
      np.zeros((5, 3)),
      r"X: got shape \(5, 3\), expected three columns, .*: rows came",
    ),
    ([("anna", "Heat", 1)] * 2, r"X: got shape \(2, 3\), .*list\(zip\(\*X\)\)"),
    (
      (["a"] * 2, ["x", 3], [0, 1]),
      "X: item, row 1: got 3, expected a text, as in row 0",
    ),
    ((["a"] * 2, [3, "x"], [0, 1]), "X: item, row 1: got 'x', expected a numb"),
  ],
)
def test_what_is_no_table_is_named(model, rows, message):
  with pytest.raises(ValueError, match=message):
    estimators.NextItem(**SMALL).fit(rows)
  if not isinstance(rows, tuple):
    with pytest.raises(ValueError, match=message):
      model.predict(rows)


def test_losses_of_networks_without_states_are_refused():
  for loss in ("masked", "autoencode"):
    with pytest.raises(ValueError, match="^loss: got '.*one of 'full', 'sam"):
      estimators.NextItem(mixer="attention", loss=loss, **SMALL).fit(FRAME)


def test_equal_numbers_are_one_item():
  model = estimators.NextItem()
  model._read(([1] * 3, [3.0, 4.0, 5.5], [0, 1, 2]), reset=True)
  assert model._places([3, "3.0", np.float32(4), 5.5]).tolist() == [0, 0, 1, 2]
  rows = model._read(([1], np.array([3]), [0]), reset=False)
  assert [row.tolist() for row in rows.values] == [[0]]
  with pytest.raises(ValueError, match="items: got 9, expected one of the tra"):
    model._places(np.array([9]))


def test_texts_for_lists_and_empty_histories_are_named(model):
  refused = (
    (lambda: model.recommend("u3"), r"users: got 'u3', .* such as \['u3'\]"),
    (lambda: model.recommend_for("i3"), "histories: got 'i3', expected a list"),
    (
      lambda: model.recommend_for(["i3"]),
      r"histories\[0\]: got 'i3', expected",
    ),
    (lambda: model.recommend_for([3]), r"histories\[0\]: got 3, expected a li"),
    (lambda: model.recommend_for([["i3"], []]), r"histories\[1\]: .*at least"),
    (
      lambda: model.recommend_for([]),
      r"histories: got \[\], expected at least",
    ),
    (
      lambda: model.recommend(["u3"], items="i3"),
      "items: got 'i3', expected a",
    ),
  )
  for call, message in refused:
    with pytest.raises(ValueError, match=message):
      call()


@pytest.mark.parametrize(
  ("column", "value", "message"),
  [
    ("item", None, "X: item, row 3: got nothing, expected a value"),
    ("user", np.nan, "X: user, row 3: got nothing"),
    ("item", pd.NA, "X: item, row 3: got nothing"),
    ("time", np.nan, "X: time, row 3: got nothing"),
    (
      "time",
      "soon",
      "X: time, row 3: got 'soon', expected a number, or a date",
    ),
  ],
)
def test_a_cell_that_is_none_is_named(column, value, message):
  table = FRAME.astype(object)
  table.iloc[3, table.columns.get_loc(column)] = value
  with pytest.raises(ValueError, match=message):
    estimators.NextItem(**SMALL).fit(table)
  with pytest.raises(ValueError, match=message):
    estimators.NextItem(**SMALL).fit([table[name].tolist() for name in table])


@pytest.mark.parametrize("gap", [None, 1.0])
def test_lists_are_those_that_predictions_and_scores_are_of(gap, tmp_path):
  """Of histories that are longer than the pieces of the training."""
  rng = np.random.default_rng(0)
  user, time = np.repeat(np.arange(6), 30), np.tile(np.arange(30.0), 6)
  rows = user, rng.integers(0, 40, 180), time
  model = estimators.NextItem(
    mixer="gru" if gap is None else "s5",
    gap=gap,
    length=5,
    d_model=8,
    num_updates=2,
    batch_size=4,
    random_state=0,
  ).fit(rows)

  def table(found, user="user"):
    keys = zip(map(str, found[user].tolist()), map(str, found["item"].tolist()))
    return dict(zip(keys, found["score"].tolist()))

  wanted = table(model.predict(rows), "id")
  histories = [rows[1][user == n].tolist() for n in range(6)]
  times = None if gap is None else [time[:30]] * 6
  lists = [model.recommend(), model.recommend_for(histories, times=times)]
  # The last ten items of a user come one by one.
  late = time >= 20
  first = [column[~late] for column in rows]
  other = pickle.loads(pickle.dumps(model))
  other._histories = item_histories.Histories(gap is not None)
  read = other._read(tuple(first), reset=False)
  other._take(read, *other._numbers(read))
  other._stream = None
  other.recommend()
  for one in zip(*(column[late] for column in rows)):
    other.update(*one)
  lists.append(other.recommend())
  # And by the server of a file.
  model.save(tmp_path / "model.safetensors")
  loaded = jaxseq.load(tmp_path / "model.safetensors")
  stream = recommendation_answers.Stream(loaded)
  for one in zip(*rows):
    stream.update(dict(zip(("user", "item", "time"), map(str, one))))
  answers = [stream.recommend(str(n)) for n in range(6)]
  served = {
    (answer["user"], item): score
    for answer in answers
    for item, score in zip(answer["items"], answer["scores"])
  }
  for found in (*map(table, lists), served):
    assert found.keys() == wanted.keys()
    for key, score in wanted.items():
      np.testing.assert_allclose(found[key], score, rtol=1e-5, atol=1e-5)
