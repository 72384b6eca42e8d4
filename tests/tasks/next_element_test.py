"""Networks that predict the next activity, and the models beside them."""

import jax
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.data import event_logs
from jaxseq.tasks import base
from jaxseq.tasks import next_element
from jaxseq.tasks import suffix_models

ARM = base.ArmConfig(
  nn.NetworkConfig(nn.StackConfig("gru", d_model=4, num_layers=1)), batch_size=4
)
SPLITS = event_logs.loans(cases=60)


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
