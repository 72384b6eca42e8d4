"""What holds for every estimator: healthy data, however odd they are."""

import dataclasses
import functools
import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import base as sklearn_base
from sklearn import model_selection

from jaxseq import estimators
from jaxseq.estimators import base
from jaxseq.estimators import programs
from jaxseq.models import model_file
from jaxseq.training import supervised
from tests.estimators import odd
from tests.models import cases as model_cases

SMALL = {
  "mixer": "gru",
  "d_model": 4,
  "num_layers": 1,
  "num_updates": 2,
  "batch_size": 4,
  "random_state": 0,
}
RNG = np.random.default_rng(0)
# Twelve series of two channels, of which the second never changes.
X = RNG.normal(size=(12, 10, 2))
X[..., 1] = 3.0
Y = np.arange(12) % 2
TIMES = [np.arange(1.0, 7.0)] * 6
# Two shops, of which the second never sells another number, and days to come.
SALES = pd.concat(
  pd.DataFrame(
    {
      "day": pd.date_range("2025-01-01", periods=count + 2),
      "shop": shop,
      "sales": [*values[:count], None, None],
      "price": np.arange(count + 2.0) % 3,
      "region": shop * 2,
    }
  )
  for shop, values, count in (
    ("A", RNG.normal(size=30), 30),
    ("B", [3.0] * 20, 20),
  )
)
ACTIVITIES = [["open", "ask", "close"], ["open", "close"]] * 6
DOCUMENTS = [
  ["a day", "the day after", "an end"][: 2 + i % 2] for i in range(6)
]
STARTS = [[1, 0, 1][: 2 + i % 2] for i in range(6)]
# float32, with sums over another number of elements.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}

CASES = {
  "classifier": (estimators.SequenceClassifier, {}, (X, Y)),
  "regressor": (estimators.SequenceRegressor, {}, (X, 2.0 * Y)),
  "stepwise": (
    *(estimators.SequenceRegressor, {"stepwise": True}),
    (X, np.cumsum(X[..., 0], axis=1)),
  ),
  "forecaster": (
    estimators.Forecaster,
    {"input_length": 4, "horizon": 2, "normalize": False, "channels": "mixed"},
    (RNG.normal(size=(30, 2)),),
  ),
  "panel": (
    estimators.Forecaster,
    {
      "input_length": 4,
      "horizon": 2,
      "time": "day",
      "series": "shop",
      "known": "price",
      "static": ["region"],
    },
    (SALES,),
  ),
  "next_item": (
    estimators.NextItem,
    {"length": 4},
    ((np.arange(24) % 6, np.arange(24) * 3 % 7, np.arange(24)),),
  ),
  # Regular gaps.
  "events": (estimators.EventModel, {"components": 2}, (TIMES,)),
  "next_activity": (estimators.NextActivity, {}, (ACTIVITIES,)),
  "segmenter": (estimators.Segmenter, {"words": 4}, (DOCUMENTS, STARTS)),
  "texts": (estimators.TextGenerator, {"length": 4}, (["aaaaaa"] * 6,)),
  "graph": (
    estimators.TemporalGraph,
    {},
    ((np.arange(24) % 6, np.arange(24) * 3 % 7, np.arange(24)),),
  ),
  "encoder": (estimators.DisentangledEncoder, {"latent": 2}, (X,)),
}
SERIES = [
  name
  for name in CASES
  if name
  not in (
    *("forecaster", "panel", "events", "next_item"),
    *("next_activity", "segmenter", "texts", "graph"),
  )
]
OF_ANY_LENGTH = ["classifier", "regressor", "stepwise"]


def fresh(name, **options):
  cls, own, _ = CASES[name]
  return cls(**{**SMALL, **own, **options})


@functools.cache
def fitted(name):
  return fresh(name).fit(*CASES[name][2])


def answers(estimator, *given):
  """Everything that an estimator says, by name."""
  found = getattr(estimator, "predict_proba", None) or getattr(
    estimator, "predict", getattr(estimator, "transform", None)
  )
  return found(*given)


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in OF_ANY_LENGTH else pytest.mark.slow)
    for name in CASES
  ],
)
def test_answers_are_finite_for_constant_and_regular_data(name):
  given = CASES[name][2][:1]
  if name == "graph":
    given = ([0, 1],)
  found = answers(fitted(name), *given)
  if name == "graph":
    found = fitted(name).predictions(*given)["score"]
  if name == "events":
    found = found["gap_expected"]
  if name == "next_item":
    found = found["score"]
  if name == "segmenter":
    found = np.concatenate(found)
  assert np.isfinite(found).all()


@pytest.mark.parametrize("name", OF_ANY_LENGTH)
def test_shorter_and_longer_series_alone_and_in_company(name):
  estimator = fitted(name)
  short, long = X[0, :6], np.concatenate([X[1], X[2]])
  both = answers(estimator, [short, long])
  for row, series in zip(both, (short, long)):
    alone = answers(estimator, [series])[0]
    if name == "stepwise":
      assert alone.shape == (len(series),)
      assert np.isnan(row[len(series) :]).all()
      row = row[: len(series)]
    np.testing.assert_allclose(row, alone, **CLOSE)


@pytest.mark.parametrize("name", [*SERIES, "forecaster"])
def test_columns_are_those_of_training(name):
  names = ["north", "south"]
  _, _, (first, *rest) = CASES[name]
  if name == "forecaster":
    form = functools.partial(pd.DataFrame, columns=names)
  else:

    def form(X):
      return [pd.DataFrame(row, columns=names) for row in X]

  estimator = fresh(name).fit(form(first), *rest)
  frames = form(first)
  expected = answers(estimator, frames)
  swapped, other = (
    change(frames) if name == "forecaster" else list(map(change, frames))
    for change in (
      lambda frame: frame[names[::-1]],
      lambda frame: frame.rename(columns={"north": "west"}),
    )
  )
  for wrong in (swapped, other):
    with pytest.raises(ValueError, match=r"columns: got \[.*as in training"):
      answers(estimator, wrong)
  # Without names they stand in their order.
  np.testing.assert_array_equal(answers(estimator, first), expected)


@pytest.mark.slow
def test_words_and_dates_among_columns_are_named():
  long = pd.DataFrame({"id": ["a", "a", "b"], "x": [0.0, 1.0, 2.0]})
  with pytest.raises(ValueError, match="X: column 'id': got .*set_index"):
    fresh("classifier").fit(long, [0, 1, 0])
  dated = pd.DataFrame(
    {"at": pd.date_range("2025-01-01", periods=9), "x": np.arange(9.0)}
  )
  with pytest.raises(ValueError, match="y: column 'at': got datetime64"):
    fresh("forecaster").fit(dated)
  with pytest.raises(ValueError, match="times of sequence 0: got 'dates', exp"):
    fitted("events").predict([dated["at"].to_numpy()])


def test_pieces_of_any_length_are_the_whole():
  """Also shorter ones than in training, which are not padded."""
  estimator = fitted("stepwise")
  stream = RNG.normal(size=(3, 25, 2))
  whole = estimator.predict(stream)
  estimator.restart_stream()
  ends = [0, 7, 8, 20, 25]
  pieces = [
    estimator.predict_stream(stream[:, a:b]) for a, b in zip(ends, ends[1:])
  ]
  assert [piece.shape for piece in pieces] == [(3, n) for n in (7, 1, 12, 5)]
  np.testing.assert_allclose(np.concatenate(pieces, 1), whole, **CLOSE)
  estimator.restart_stream()
  with pytest.raises(ValueError, match=r"X: lengths: got \[4, 6\], expected"):
    estimator.predict_stream([X[0, :4], X[1, :6]])


@pytest.mark.slow
def test_the_last_piece_of_a_stream_may_be_shorter():
  y = np.cumsum(X[..., 0], axis=1)
  estimator = fresh("stepwise").partial_fit(X[:, :4], y[:, :4])
  for piece in (np.s_[:, 4:8], np.s_[:, 8:]):
    estimator.partial_fit(X[piece], y[piece], carry=True)
  assert estimator.n_updates_ == 3
  assert estimator.predict(X[:, :3]).shape == (12, 3)


@pytest.mark.slow
def test_streams_of_events_go_on_after_training():
  estimator = fitted("events")
  longer = [np.arange(1.0, 30.0)]
  found = estimator.predict(longer)
  assert np.isfinite(found["gap_expected"]).all()
  # What is to come after the training's last event has seen no more of them.
  np.testing.assert_allclose(
    found["gap_expected"][:7],
    estimator.predict(TIMES[:1])["gap_expected"],
    **CLOSE,
  )
  assert np.isfinite(estimator.score(longer))


UPDATED = {"classifier": {"classes": [0, 1]}, "regressor": {}, "stepwise": {}}


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name == "regressor" else pytest.mark.slow)
    for name in UPDATED
  ],
)
def test_updates_standardize_by_all_examples_so_far(name):
  """Also where the first one is constant, and where a value is missing."""
  Z, y = 5.0 + 2.0 * X, np.array(CASES[name][2][1], float)
  Z[0] = 7.0
  Z[4, 3, 0] = np.nan
  options = {"missing": "mask"}
  estimator = fresh(name, **options).partial_fit(Z[:1], y[:1], **UPDATED[name])
  assert estimator.model_.preparation.deviation == (7.0, 7.0)
  for begin, end in ((1, 2), (2, 7), (7, 12)):
    estimator = pickle.loads(pickle.dumps(estimator))
    estimator.partial_fit(Z[begin:end], y[begin:end])
  found = estimator.model_.preparation
  wanted = fresh(name, **options).fit(Z, y).model_.preparation
  fields = ["mean", "deviation"]
  if name != "classifier":
    fields += ["target_mean", "target_deviation"]
  for field in fields:
    np.testing.assert_allclose(
      getattr(found, field), getattr(wanted, field), rtol=1e-12
    )
  # A fit begins anew, and so do the updates after it.
  estimator.fit(Z, y).partial_fit(Z[:1], y[:1], **UPDATED[name])
  assert estimator.model_.preparation.mean == (7.0, 7.0)


@pytest.mark.parametrize("name", UPDATED)
def test_updates_that_fail_leave_the_scale(name):
  y = CASES[name][2][1]
  estimator = fresh(name).partial_fit(X, y, **UPDATED[name])
  before = estimator._moments[""].count
  with pytest.raises(ValueError, match="channels: got 1, expected 2"):
    estimator.partial_fit(X[..., :1], y)
  np.testing.assert_array_equal(estimator._moments[""].count, before)
  # Estimators in older files have no moments: their scale stays.
  del estimator._moments
  scale = estimator.model_.preparation.mean
  estimator.partial_fit(X + 1.0, y)
  assert estimator.model_.preparation.mean == scale


@pytest.mark.parametrize("name", ["forecaster", "classifier"])
def test_options_that_are_some_words_are_checked(name):
  wrong = {"forecaster": {"channels": "joint"}, "classifier": {"missing": "no"}}
  with pytest.raises(ValueError, match="got '(joint|no)', expected one of"):
    fresh(name, **wrong[name]).fit(*CASES[name][2])


@pytest.mark.slow
def test_fewer_validation_examples_than_classes():
  labels = np.arange(12) % 3
  with pytest.warns(UserWarning, match="2 of 12 examples cannot have all 3"):
    fresh("classifier", early_stopping=1, evaluations=1).fit(X, labels)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    fresh(
      "classifier", early_stopping=1, evaluations=1, validation_fraction=0.25
    ).fit(X, labels)
  one = fresh("regressor", early_stopping=1)
  with pytest.raises(ValueError, match="early_stopping: got 1 example, exp"):
    one.fit(X[:1], [1.0])


def test_by_default_the_best_variables_on_validation_are_kept():
  """Labels that mean nothing cannot be learnt, only by heart."""
  X, y = RNG.normal(size=(240, 6)), RNG.integers(0, 2, 240)
  options = {"num_updates": 60, "evaluations": 30, "learning_rate": 0.03}
  estimator = fresh("classifier", **options).fit(X, y)
  scores = estimator.history_["valid_accuracy"]
  best = np.flatnonzero(np.equal(scores, max(scores)))
  updates = [estimator.history_["update"][i] for i in best]
  assert estimator.n_updates_ in updates
  assert estimator.history_["update"][-1] < 60
  # 10 % of 40 series tell too little to do without them.
  few = fresh("classifier", **options).fit(X[:40], y[:40])
  assert few.n_updates_ == 60
  assert "valid_accuracy" not in few.history_


@pytest.mark.slow
def test_intervals_have_a_part_of_their_own():
  """With early stopping the part that chose the moment is another one."""
  y = RNG.normal(size=60)
  options = {"validation_fraction": 0.3, "early_stopping": 1, "evaluations": 2}
  estimator = fresh("forecaster", intervals=True, **options).fit(y)
  # 18 times at the end, without those that a horizon of 2 needs.
  assert len(estimator._errors) == 17
  windows = np.lib.stride_tricks.sliding_window_view(y[60 - 18 - 4 :], 6)
  off = [
    np.abs(estimator.predict(row[:4]) - row[4:])
    / estimator.model_.preparation.deviation[0]
    for row in windows
  ]
  np.testing.assert_allclose(
    np.sort(off, axis=0), estimator._errors[..., 0], **CLOSE
  )


@pytest.mark.slow
def test_fits_of_one_form_have_one_program(monkeypatch):
  """Other data, seeds and learning rates compile nothing and change nothing."""
  monkeypatch.setattr(programs, "_PROGRAMS", type(programs._PROGRAMS)())
  traced = []
  plain = supervised.train
  monkeypatch.setattr(
    supervised,
    "train",
    lambda *args, **kwargs: traced.append(0) or plain(*args, **kwargs),
  )
  options = {"random_state": 3, "learning_rate": 0.1}
  estimator = fresh("classifier")
  search = model_selection.GridSearchCV(
    estimator, {"learning_rate": [0.1, 1e-3]}, cv=3, refit=False
  )
  search.fit(X, Y)
  assert len(traced) == 1
  shared = fresh("classifier", **options).fit(X, Y).predict_proba(X)
  count = len(traced)
  fresh("classifier", random_state=1).fit(X[::-1], Y[::-1])
  assert len(traced) == count
  programs._PROGRAMS.clear()
  alone = fresh("classifier", **options).fit(X, Y).predict_proba(X)
  assert len(traced) == count + 1
  np.testing.assert_array_equal(shared, alone)
  other = fresh("classifier", random_state=3, learning_rate=0.01).fit(X, Y)
  assert not np.array_equal(shared, other.predict_proba(X))


@pytest.mark.parametrize("name", CASES)
def test_what_is_final_is_written_once(name):
  cls = CASES[name][0]
  for base_class in cls.__mro__:
    for attribute, value in vars(base_class).items():
      if getattr(value, "__final__", False):
        assert getattr(cls, attribute) is value, attribute
  for attribute in ("fit", "save", "predict", "transform"):
    method = getattr(cls, attribute, None)
    assert method is None or method.__final__, attribute


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_fields(name):
  cls = CASES[name][0]
  fields = {field.name for field in dataclasses.fields(cls)}
  assert set(cls._get_param_names()) == fields
  kinds = {x.name: x.kind for x in inspect.signature(cls).parameters.values()}
  assert [k for k, x in kinds.items() if x is not inspect._KEYWORD_ONLY] == [
    "mixer"
  ]
  estimator = fresh(name)
  assert estimator != sklearn_base.clone(estimator)
  assert issubclass(cls, base.SequenceEstimator)


@functools.cache
def said_of_ordinary(kind):
  """An estimator fitted to ordinary data, and what it says of them."""
  made = odd.KINDS[kind]
  estimator = made.make(**made.options).fit(*made.ordinary)
  return estimator, made.says(estimator, *made.ordinary)


@pytest.mark.parametrize(
  ("kind", "name"),
  [(kind, name) for kind, made in odd.KINDS.items() for name in made.cases],
)
def test_odd_data_are_as_the_ordinary_ones_or_have_a_remedy(kind, name):
  made = odd.KINDS[kind]
  case = made.cases[name]
  if case.asked:
    estimator, _ = said_of_ordinary(kind)
  else:
    estimator = made.make(**{**made.options, **case.options})

  def say():
    if not case.asked:
      estimator.fit(*case.given)
    return made.says(estimator, *case.given)

  if case.refused is not None:
    with pytest.raises(ValueError, match=case.refused) as error:
      say()
    assert "\n" not in str(error.value)
    return
  found = case.restore(say())
  assert np.isfinite(found).all()
  if case.part is not None:
    _, said = said_of_ordinary(kind)
    np.testing.assert_allclose(found, said[case.part], rtol=1e-3, atol=1e-5)


def test_letters_alone_empty_and_unknown(tmp_path, caplog):
  path = tmp_path / "model.safetensors"
  model_file.save(path, model_cases.sequences().model)
  encoder = estimators.Encoder(path)
  together = encoder.transform(["GGGAAACCC", "A", "ACGUACGUACGUACGU"])
  for row, one in zip(together, ("GGGAAACCC", "A", "ACGUACGUACGUACGU")):
    np.testing.assert_allclose(encoder.transform([one])[0], row, **CLOSE)
  with pytest.raises(ValueError, match="sequence 1: got .*expected letters"):
    encoder.transform(["ACG", ""])
  assert not caplog.text
  assert np.isfinite(encoder.transform(["ACX"])).all()
  assert "most often 'X': they are read as <unk>" in caplog.text
