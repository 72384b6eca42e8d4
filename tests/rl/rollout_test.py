import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.nn import sequence_model
from jaxseq.rl import rollout
from jaxseq.rl.agents import common
from jaxseq.rl.agents import ppo
from tests.rl import toy

toy.register(PaidTuned=toy.Paid)


def test_a_rollout_begins_with_tuned_memories():
  config = ppo.Config(
    env_id="JaxseqTest-PaidTuned",
    network=toy.network(d_model=4),
    num_envs=2,
    num_minibatches=1,
    critic="shared",
  )
  player = ppo.player(config)
  tuned = {sequence_model.TUNED: {"memory": {"0/h": jnp.arange(4.0)}}}
  world, variables, _ = common.start(config, player, jax.random.key(0), tuned)
  np.testing.assert_array_equal(world.memory[0].h, [np.arange(4)] * 2)
  later = rollout.start(player, jax.random.key(1), 2, variables)
  np.testing.assert_array_equal(later.memory[0].h, world.memory[0].h)
  # The first episode begins as those do that follow others.
  forgotten = world._replace(
    reset=jnp.ones(2, bool), memory=jax.tree.map(lambda x: x + 1, world.memory)
  )
  firsts = [
    player.network.apply(
      variables, each.observation, each.memory, each.reset, method="step"
    )[1]
    for each in (world, forgotten)
  ]
  np.testing.assert_array_equal(*firsts)
