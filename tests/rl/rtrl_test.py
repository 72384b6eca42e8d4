"""Memories of players that carry their derivatives from rollout to rollout."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.rl import algorithms
from jaxseq.rl import networks
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from tests.rl import toy

toy.register(PaidInStreams=toy.Paid)

_STACK = nn.StackConfig("lru", {"d_state": 4}, d_model=4, num_layers=1)


def _mixer_gradient(stack, variables, taken, memory, last):
  """The gradient of numbers of the last steps, for the mixer."""
  config = networks.Config(stack, encoder_widths=(), head_widths=(4,))
  network = networks.ActorCritic(config, ppo.player(_CONFIG).network.actions)

  def loss(variables):
    observation, reset = taken.observation, taken.reset
    actor, value, _ = network.apply(variables, observation, memory, reset)
    numbers = value + actor.log_prob(taken.action)
    return jnp.sum(jnp.sin(numbers[:, -last:]))

  gradient = jax.jit(jax.grad(loss))(variables)
  return gradient["params"]["memory"]["layers_0"]["mixer"]


_CONFIG = dataclasses.replace(
  algorithms.published(ppo.Config),
  env_id="JaxseqTest-PaidInStreams",
  env_params=(("max_steps_in_episode", 7),),
  network=networks.Config(
    dataclasses.replace(_STACK, rtrl=True), encoder_widths=(), head_widths=(4,)
  ),
  num_envs=2,
  num_minibatches=1,
  rollout_length=3,
)


@pytest.mark.slow
def test_a_rollout_is_learned_from_with_all_that_was_before():
  player, runner = ppo.player(_CONFIG), ppo.init(_CONFIG, jax.random.key(0))
  variables, world, parts = runner.variables, runner.world, []
  # An episode ends within the third rollout.
  for key in jax.random.split(jax.random.key(1), 3):
    memory = world.memory
    world, taken = rollout.collect(player, variables, world, key, 3)
    parts.append(jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), taken))
  whole = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts)
  carried = _STACK, dataclasses.replace(_STACK, rtrl=True)
  want = _mixer_gradient(_STACK, variables, whole, None, 3)
  got = _mixer_gradient(carried[1], variables, parts[-1], memory, 3)
  for name, leaf in want.items():
    # Sums of some dozen numbers in float32, in another order.
    np.testing.assert_allclose(
      got[name], leaf, rtol=1e-3, atol=1e-5, err_msg=name
    )
  # A plain state stands for nothing of what made it.
  plain = memory[0].mixer, *memory[1:]
  cut = _mixer_gradient(carried[0], variables, parts[-1], plain, 3)
  assert np.abs(cut["B_re"] - want["B_re"]).max() > 1e-3
  # And an update takes it all.
  after, metrics = ppo.update(
    dataclasses.replace(_CONFIG, num_epochs=1), runner
  )
  assert np.isfinite(metrics["loss"])
  assert np.any(after.world.memory[0].traces["B_re"])
