"""Networks that predict the next activity, and the models beside them."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxseq
from jaxseq import nn
from jaxseq.data.sources import logs
from jaxseq.tasks import base
from jaxseq.tasks import next_element
from jaxseq.tasks.language import suffix_models
from tests.models import cases

ARM = base.ArmConfig(
  nn.NetworkConfig(nn.StackConfig("gru", d_model=4, num_layers=1)), batch_size=4
)
SPLITS = logs.loans(cases=60)


@pytest.mark.slow
def test_networks_are_scored_as_counts_are():
  problem = next_element.Problem(ARM, SPLITS)
  variables = jax.jit(problem.init)(jax.random.key(0))
  part = problem.data["test"]
  outputs = jax.jit(problem.network.apply)(variables, part.inputs)
  metrics, count = problem.score(outputs, part)
  inside = part.targets > 0
  predictions = np.asarray(jax.nn.softmax(outputs[0]))[inside]
  targets = suffix_models.targets_of(part)
  assert count == len(targets) == (part.lengths).sum()
  for name, value in suffix_models.scores(predictions, targets).items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_a_model_says_what_follows_the_cases_of_a_file(tmp_path):
  case = cases.case("next_element")
  test, tokens = case.splits.test, case.splits.info.tokens
  # The decision of each is still to come, at another length of each.
  begun = [
    [tokens[x] for x in row[1 : length - 2]]
    for row, length in zip(test.inputs, test.lengths)
  ]
  rows = [f"n{i},{name}" for i, one in enumerate(begun) for name in one]
  path = tmp_path / "later.csv"
  path.write_text("\n".join(["order,step", *rows, ""]))
  source = dataclasses.replace(
    case.model.preparation, reader="event_log", case="order", activity="step"
  )
  jaxseq.save(
    tmp_path / "m", dataclasses.replace(case.model, preparation=source)
  )
  found = jaxseq.load(tmp_path / "m").predict(path)
  logits, _ = case.problem.network.apply(case.variables, test.inputs)
  each = np.arange(len(test.inputs)), test.lengths - 3
  wanted = np.asarray(jax.nn.softmax(logits[each]))
  assert found["id"].tolist() == [f"n{i}" for i in range(len(begun))]
  names = tokens[1:]
  assert list(found)[3:] == [f"probability_{name}" for name in names]
  for i, name in enumerate(names):
    np.testing.assert_allclose(
      found[f"probability_{name}"], wanted[:, i], rtol=2e-5
    )
  np.testing.assert_allclose(found["probability"], wanted.max(1), rtol=2e-5)
  best = [names[i] for i in wanted.argmax(axis=1)]
  assert found["activity"].tolist() == best
  # The same of names in memory.
  np.testing.assert_array_equal(
    case.model.predict(begun)["probability"], found["probability"]
  )


def test_models_that_count_have_the_orders_that_are_best_on_validation():
  rows = next_element.floors(SPLITS, "test")
  assert [name.split(",")[0] for name in rows] == [
    "Markov 1",
    "Markov 2",
    "all-order Markov",
    "all-order Markov",
    "n-grams (Witten-Bell)",
  ]
  # How it is decided depends on the beginning, which a symbol does not tell.
  best = min(values["brier"] for name, values in rows.items() if "," in name)
  assert best < rows["Markov 1"]["brier"]
  wanted = next_element.floors(SPLITS, "valid")
  assert all(values["brier"] < 1 for values in wanted.values())


def test_other_data_are_refused():
  train = SPLITS.train._replace(targets=SPLITS.train.targets[:, 0])
  with pytest.raises(
    ValueError, match="the data: got 'inputs .*', expected trac"
  ):
    next_element.Problem(ARM, SPLITS._replace(train=train))


def test_networks_that_see_the_next_activity_are_refused():
  stack = dataclasses.replace(ARM.network.stack, bidirectional=True)
  network = dataclasses.replace(ARM.network, stack=stack)
  with pytest.raises(ValueError, match="bidirectional: got True"):
    next_element.Problem(dataclasses.replace(ARM, network=network), SPLITS)
