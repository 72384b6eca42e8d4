"""Answers that are places: which choices count, and what solves a set."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.pointing import hull
from configs.pointing import sorting
from experiments.pointing import answers
from experiments.pointing import decoding
from experiments.pointing import geometry
from experiments.pointing import pointer
from experiments.pointing import program
import jaxseq
from jaxseq import models
from jaxseq import nn
from jaxseq.tasks import base


def test_choices_that_count():
  chosen = np.array([[2, 1, 3, 0, 0], [1, 3, 0, 0, 0]])
  sets = geometry.Sets(np.zeros((2, 4, 2)), chosen, np.array([4, 3]))
  got, mask = program.written(program.ArmConfig(), sets)
  np.testing.assert_array_equal(got, chosen)
  np.testing.assert_array_equal(mask.sum(axis=1), [4, 3])
  arm = program.ArmConfig(reads="sets")
  got, mask = program.written(arm, sets)
  np.testing.assert_array_equal(got[0], [1, 0, 2, 0, 0])
  np.testing.assert_array_equal(mask.sum(axis=1), [3, 2])


def test_right_choices_solve_a_set():
  config = program.Config(
    task="sort",
    task_options={"low": 3, "high": 4},
    arms={"one": {"reads": "sets"}},
    train_sets=40,
    test_sets=4,
  )
  arm = program.ArmConfig(reads="sets")
  problem = program.Problem(arm, config)
  batch = problem.data["test"]
  chosen, mask = program.written(arm, batch)
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


@pytest.fixture(name="tours", scope="module")
def fixture_tours():
  """A problem of tours and variables that may end early and repeat cities."""
  config = program.Config(
    task="tour",
    task_options={"low": 4, "high": 6},
    arms={"one": {}},
    train_sets=4,
    test_sets=6,
  )
  stack = dataclasses.replace(pointer.LSTM, d_model=8)
  arm = program.ArmConfig(nn.NetworkConfig(stack), beams=3, batch_size=4)
  problem = program.Problem(arm, config)
  variables = jax.jit(problem.init)(jax.random.key(0))
  return config, problem, variables


@pytest.mark.parametrize("beams", [1, 3])
def test_tours_visit_every_city_once(tours, beams):
  _, problem, variables = tours
  sets, network = problem.data["test"], problem.network
  arrays = jnp.asarray(sets.points), jnp.asarray(sets.lengths)
  free, _ = decoding.decode(network, variables, arrays[0], 7, lengths=arrays[1])
  chosen = np.asarray(answers.answers(network, variables, *arrays, beams=beams))
  assert set(sets.lengths) == {4, 5, 6}
  for row, without, length in zip(chosen, free[:, 0], sets.lengths):
    assert sorted(row[:length]) == [*range(1, length + 1)]
    assert not row[length:].any()
    assert sorted(without[:length]) != sorted(row[:length])
  # Predictions have the tours of the config's beams.
  found = answers.compute(
    network, variables, {"inputs": arrays[0], "lengths": arrays[1]}
  )
  assert network.config.beams == 3
  if beams == 3:
    np.testing.assert_array_equal(found["chosen"], chosen)


def test_models_of_tours_are_saved_and_exported(tours, tmp_path):
  _, problem, variables = tours
  sets = problem.data["test"]
  splits = answers.splits_of(sets)
  path = tmp_path / "tours.safetensors"
  jaxseq.save(path, models.make("pointing", problem.network, variables, splits))
  model = jaxseq.load(path)
  chosen = model.predict(splits.test).arrays["chosen"]
  assert sorted(chosen[0, : sets.lengths[0]]) == [
    *range(1, sets.lengths[0] + 1)
  ]
  given = {"inputs": sets.points, "lengths": sets.lengths}
  exported = model.export(time=sets.points.shape[1])
  np.testing.assert_array_equal(exported.call(given)["chosen"], chosen)


def test_lengths_of_tours_are_compared_with_the_shortest(tours):
  config, problem, variables = tours
  sets, network = problem.data["test"], problem.network
  found = program.tour_lengths(network, variables, sets)
  arrays = jnp.asarray(sets.points), jnp.asarray(sets.lengths)
  chosen = np.asarray(answers.answers(network, variables, *arrays))
  lengths = [
    geometry.tour_length(points, row[row > 0] - 1)
    for points, row in zip(sets.points, chosen)
  ]
  shortest = [
    geometry.tour_length(points, geometry.tour(points[:length]))
    for points, length in zip(sets.points, sets.lengths)
  ]
  ratios = np.divide(lengths, shortest)
  np.testing.assert_allclose(found["length"], np.mean(lengths))
  np.testing.assert_allclose(found["ratio"], ratios.mean())
  assert ratios.min() > 1 - 1e-9
  # Through more cities than have an exact answer.
  long = config.sets(2, 0, low=13, high=13, answered=False)
  assert set(program.tour_lengths(network, variables, long)) == {"length"}
  arm = program.ArmConfig(reads="sets")
  with pytest.raises(ValueError, match="no_repeat: got False, expected True"):
    program.Problem(arm, config)


@pytest.mark.parametrize("module", [hull, sorting])
def test_arms_of_the_configs_can_be_trained(module):
  config = module.get_config("tiny")
  whole = dataclasses.replace(config, arms=module.get_config().arms)
  for name in whole.arms:
    arm = program.TASK.arm_config(whole, name)
    variables = jax.eval_shape(
      program.Problem(arm, whole).init, jax.random.key(0)
    )
    optimizer = base.make_optimizer(arm, 200)
    assert jax.eval_shape(optimizer.init, variables["params"])
