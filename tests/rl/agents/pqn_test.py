"""Recurrent Q-learning without a replay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.rl import evaluate
from jaxseq.rl import networks
from jaxseq.rl import q_networks
from jaxseq.rl import rollout
from jaxseq.rl.agents import on_policy
from jaxseq.rl.agents import pqn
from tests.rl import toy

toy.register(PaidForEver=toy.Paid)


def small(mixer="gru", **options):
  """A configuration that compiles and runs in moments."""
  settings = {
    "network": toy.network(mixer, 16, widths=(16,), heads=(16,)),
    "num_envs": 4,
    "rollout_length": 16,
    "total_steps": 512,
    "num_epochs": 2,
    "num_minibatches": 2,
    "learning_rate": 1e-3,
    "reward_normalization": "none",
  }
  return pqn.Config(**(settings | options))


def test_the_loss_is_that_of_the_actions_taken():
  # Two environments, three steps, and values that are a table.
  class Table:
    def apply(self, variables, observation, memory, reset):
      values = variables["table"][observation]
      policy = q_networks.EpsilonGreedy(values, jnp.float32(0))
      return policy, values.max(axis=-1), memory

  config = small()
  table = jnp.array([[1.0, 2.0], [3.0, -1.0]])
  seen = jnp.array([[0, 1, 0], [1, 1, 0]])
  action = jnp.array([[0, 1, 1], [0, 0, 0]])
  returns = jnp.array([[2.0, 0.0, 2.0], [3.0, 4.0, 0.0]])
  unknown = dict.fromkeys(rollout.Transition._fields)
  known = {"observation": seen, "reset": seen > 1, "action": action}
  taken = rollout.Transition(**(unknown | known))
  batch = on_policy.Batch((), taken, returns, returns)
  total, metrics = pqn.loss(config, Table(), {"table": table}, batch)
  errors = np.array([1.0, 1.0, 0.0, 0.0, 1.0, -1.0])
  np.testing.assert_allclose(total, 0.5 * np.square(errors).mean())
  np.testing.assert_allclose(metrics["td_error"], np.abs(errors).mean())
  np.testing.assert_allclose(metrics["q_value"], np.mean([1, -1, 2, 3, 3, 1]))


@pytest.mark.slow
def test_epsilon_falls_over_the_run():
  config = small(
    env_id="JaxseqTest-PaidForEver",
    exploration_fraction=0.5,
    epsilon_end=0.1,
  )
  runner = pqn.init(config, jax.random.key(0))
  assert runner.variables["exploration"]["epsilon"] == 1
  _, metrics = pqn.train(config, runner, 8)
  np.testing.assert_allclose(
    metrics["epsilon"],
    [1, 0.775, 0.55, 0.325, 0.1, 0.1, 0.1, 0.1],
    rtol=1e-6,
  )


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, 0])
def test_memory_is_what_solves_a_memory_task(num_layers):
  # Name the card before the one before; 1/4 of the guesses are right.
  config = pqn.Config(
    env_options=(("k", 3),),
    network=networks.Config(
      nn.StackConfig(
        "gru",
        d_model=32,
        num_layers=num_layers,
        activation="none",
        residual=False,
        norm="layer",
      ),
      encoder_widths=(),
      head_widths=(32,),
    ),
    num_envs=16,
    rollout_length=64,
    total_steps=204_800,
    num_epochs=4,
    num_minibatches=4,
    learning_rate=3e-3,
    learning_rate_schedule="linear",
    gamma=0.5,
    reward_normalization="none",
    gae_lambda=0.65,
    epsilon_end=0.02,
    exploration_fraction=0.4,
  )
  runner = pqn.init(config, jax.random.key(0))
  runner, _ = pqn.train(config, runner, config.num_updates)
  played = evaluate.evaluate(
    config, runner.variables, jax.random.key(1), num_episodes=32, greedy=True
  )
  assert played["complete"].all()
  if num_layers:
    assert played["mean_return"] > 0.85
  else:
    assert played["mean_return"] < 0


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"epsilon_end": 1.5}, "epsilon_end: got 1.5, expected a finite number"),
    ({"num_minibatches": 3}, "num_minibatches: got 3, expected a divisor"),
    ({"gae_lambda": -1.0}, "gae_lambda: got -1.0"),
  ],
)
def test_wrong_settings(options, message):
  with pytest.raises(ValueError, match=message):
    small(**options)


def test_actions_must_be_one_choice():
  config = small(
    env_id="JaxseqTest-PaidForEver", env_options=(("continuous", 2),)
  )
  with pytest.raises(ValueError, match="a Q-network has one value for each"):
    pqn.player(config)
