"""Estimators of a series and of events, whose `fit` takes no X.

scikit-learn's checks hand over X and y, a row for each example. Those that do
not fit are run on these estimators as they are; what the others ask for that
has a meaning here stands below: `fit` gives itself and leaves the parameters,
twice the same, as a clone does; copies through pickle predict the same; nothing
is left in the instance that `fit` should set, and no input is changed.
"""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import base
from sklearn.utils import estimator_checks

from jaxseq import estimators
from tests.estimators import cases

_SHORT = {**cases.SMALL, "num_updates": 2}
_Y = np.random.default_rng(0).normal(size=(40, 2))
_SHOPS = pd.DataFrame(
  {"t": np.arange(80) // 2, "shop": ["A", "B"] * 40, "sales": _Y.ravel()}
)
_TIMES = [np.arange(1.0, 6.0), np.arange(0.5, 4.0)]
_MARKS = [["a", "b", "a", "b", "a"], ["b", "a", "b", "a"]]
# Estimators, and what they are fitted to and predict from.
_CASES = {
  "forecaster": (
    estimators.Forecaster(input_length=6, horizon=3, **_SHORT),
    (_Y,),
  ),
  "forecaster that stops early": (
    estimators.Forecaster(
      input_length=6,
      horizon=3,
      early_stopping=1,
      validation_fraction=0.4,
      evaluations=2,
      **_SHORT,
    ),
    (_Y,),
  ),
  "forecaster of a panel": (
    estimators.Forecaster(
      input_length=6, horizon=3, time="t", series="shop", **_SHORT
    ),
    (_SHOPS,),
  ),
  "events": (
    estimators.EventModel(components=2, **_SHORT),
    (_TIMES, _MARKS),
  ),
  "next item": (
    estimators.NextItem(length=4, **_SHORT),
    ((np.arange(24) % 6, np.arange(24) * 3 % 7, np.arange(24)),),
  ),
  "texts": (
    estimators.TextGenerator(length=4, new_tokens=3, **_SHORT),
    (["one two", "three four five"],),
  ),
}
_CHECKS = (
  "do_not_raise_errors_in_init_or_set_params",
  "estimator_cloneable",
  "estimator_repr",
  "estimator_tags_renamed",
  "estimators_unfitted",
  "get_params_invariance",
  "mixin_order",
  "no_attributes_set_in_init",
  "parameters_default_constructible",
  "set_params",
  "valid_tag_types",
)


_UNFITTED = {
  **{name: _CASES[name][0] for name in ("forecaster", "events", "next item")},
  "texts": _CASES["texts"][0],
  "graph": estimators.TemporalGraph(**_SHORT),
}


@pytest.mark.parametrize("name", _UNFITTED)
@pytest.mark.parametrize("check", _CHECKS)
def test_checks_that_fit_nothing(check, name):
  estimator = _UNFITTED[name]
  run = getattr(estimator_checks, f"check_{check}")
  run(type(estimator).__name__, estimator)


def numbers(estimator, given):
  """All that an estimator says of its input, as arrays."""
  found = estimator.predict(*given)
  if isinstance(found, list):
    return {"texts": found, "next": estimator.predict_proba(*given)}
  if isinstance(found, np.ndarray):
    return {"forecast": found}
  return dict(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", _CASES)
def test_what_checks_with_an_x_ask_for(name):
  estimator, given = _CASES[name]
  estimator = base.clone(estimator)
  before, kept = copy.deepcopy(given), estimator.get_params()
  assert estimator.fit(*given) is estimator
  assert estimator.get_params() == kept
  for x, y in zip(given, before):
    for row, same in zip(x, y):
      np.testing.assert_array_equal(row, same)
  # What is learnt ends with an underscore; what is private begins with one.
  names = set(vars(estimator)) - set(kept)
  assert all(n.endswith("_") or n.startswith("_") for n in names), names
  first, attributes = numbers(estimator, given), set(vars(estimator))
  others = {
    "fitted again": estimator.fit(*given),
    "cloned": base.clone(estimator).fit(*given),
    "pickled": pickle.loads(pickle.dumps(estimator)),
  }
  for how, other in others.items():
    assert set(vars(other)) == attributes, how
    for key, value in numbers(other, given).items():
      np.testing.assert_array_equal(value, first[key], err_msg=how)
  # Predicting changes nothing of the estimator.
  assert set(vars(estimator)) == attributes
  assert np.isfinite(estimator.score(*given))
