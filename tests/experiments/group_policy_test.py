"""Learning from answers that a program checks."""

import dataclasses

import jax
import optax
import pytest

from configs.group_policy import sums
from jaxseq.programs import checked_answers
from jaxseq.tasks import base
from jaxseq.training import supervised


def _problem(name, **fields):
  config = sums.get_config()
  arm = checked_answers.TASK.arm_config(config, name)
  arm = dataclasses.replace(arm, **fields)
  problem = checked_answers.Problem(arm, checked_answers.TASK.load(config))
  return problem, base.make_optimizer(arm, config.num_updates)


@pytest.mark.slow
def test_updates_follow_right_answers_and_then_rewards():
  problem, _ = _problem("gru", batch_size=8, group=4, warm_updates=1)
  variables = jax.jit(problem.init)(jax.random.key(0))
  batch = problem.sample(jax.random.key(1), 0, None)
  run = jax.jit(jax.grad(problem.loss, has_aux=True))
  warm, _ = run(variables, batch, None, jax.random.key(2))
  # At first no answer is right, no group has a spread, and nothing is learnt.
  later = problem.sample(jax.random.key(1), 1, None)
  assert batch.warm.all()
  assert not later.warm.any()
  none, extra = run(variables, later, None, jax.random.key(2))
  assert extra.metrics["reward"] == 0
  assert extra.metrics["flat_groups"] == 1
  sizes = [float(optax.tree.norm(each)) for each in (warm, none)]
  assert sizes[0] > 0.1
  assert sizes[1] == 0
  # In float32 the rollouts' log-probabilities are those of training.
  assert extra.metrics["mismatch"] < 1e-5


def test_a_reference_is_refused():
  policy = dataclasses.replace(checked_answers.ArmConfig().policy, beta=0.1)
  with pytest.raises(ValueError, match="policy.beta: got 0.1, expected 0, as"):
    checked_answers.ArmConfig(policy=policy)


def _successes(problem, optimizer):
  """Yields the share of right answers after every 200 updates."""
  init = jax.jit(lambda key: supervised.init(problem, optimizer, key))
  train = jax.jit(
    lambda state: supervised.train(problem, optimizer, state, None, 200)[0]
  )
  evaluate = jax.jit(lambda variables: problem.evaluate(variables, None))
  state = init(jax.random.key(0))
  for _ in range(10):
    state = train(state)
    yield float(evaluate(state.variables)["success"])


@pytest.mark.slow
def test_rewards_are_what_teaches():
  results = {}
  for name in ("gru", "shuffled"):
    problem, optimizer = _problem(name)
    results[name] = list(_successes(problem, optimizer))
  assert results["gru"][0] < 0.3
  assert results["gru"][-1] > 0.9
  assert results["shuffled"][-1] < 0.5
