"""Answers that are places: which choices count, and what solves a set."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.pointing import hull
from configs.pointing import sorting
from jaxseq.data import geometry
from jaxseq.programs import set_answers
from jaxseq.tasks import base


def test_choices_that_count():
  chosen = np.array([[2, 1, 3, 0, 0], [1, 3, 0, 0, 0]])
  sets = geometry.Sets(np.zeros((2, 4, 2)), chosen, np.array([4, 3]))
  got, mask = set_answers.written(set_answers.ArmConfig(), sets)
  np.testing.assert_array_equal(got, chosen)
  np.testing.assert_array_equal(mask.sum(axis=1), [4, 3])
  arm = set_answers.ArmConfig(reads="sets")
  got, mask = set_answers.written(arm, sets)
  np.testing.assert_array_equal(got[0], [1, 0, 2, 0, 0])
  np.testing.assert_array_equal(mask.sum(axis=1), [3, 2])


def test_right_choices_solve_a_set():
  config = set_answers.Config(
    task="sort",
    task_options={"low": 3, "high": 4},
    arms={"one": {"reads": "sets"}},
    train_sets=40,
    test_sets=4,
  )
  arm = set_answers.ArmConfig(reads="sets")
  problem = set_answers.Problem(arm, config)
  batch = problem.data["test"]
  chosen, mask = set_answers.written(arm, batch)
  right = jnp.log(jax.nn.one_hot(chosen, 4) * 0.9 + 0.025)
  metrics, count = problem.score(right, batch)
  assert count == 4
  assert metrics["solved"] == metrics["accuracy"] == 1
  lengths = np.asarray(batch.lengths)
  loss = -np.log(0.925) * lengths.mean()
  np.testing.assert_allclose(metrics["test_loss"], loss, rtol=1e-5)
  last = np.arange(mask.shape[1]) == lengths[:, None] - 1
  wrong = jnp.where(last[..., None], -right, right)
  metrics, _ = problem.score(wrong, batch)
  assert metrics["solved"] == 0
  np.testing.assert_allclose(
    metrics["accuracy"], 1 - 4 / lengths.sum(), rtol=1e-6
  )


@pytest.mark.parametrize("module", [hull, sorting])
def test_arms_of_the_configs_can_be_trained(module):
  config = module.get_config("tiny")
  whole = dataclasses.replace(config, arms=module.get_config().arms)
  for name in whole.arms:
    arm = set_answers.TASK.arm_config(whole, name)
    variables = jax.eval_shape(
      set_answers.Problem(arm, whole).init, jax.random.key(0)
    )
    optimizer = base.make_optimizer(arm, 200)
    assert jax.eval_shape(optimizer.init, variables["params"])
