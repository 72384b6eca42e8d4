"""A Decision Transformer that balances a pole, untrained."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq.rl import conditioned_players
from jaxseq.rl.agents import ppo
from jaxseq.tasks import decision
from tests.rl import toy

CONFIG = ppo.Config(
  env_id="CartPole-v1",
  env_params=(("max_steps_in_episode", 12),),
  network=toy.network(d_model=4, num_layers=0),
)


def make():
  """Returns arm, environment and an untrained player."""
  arm = decision.ArmConfig(
    nn.NetworkConfig(
      nn.StackConfig("gru", d_model=4, num_layers=1, activation="none")
    ),
    conditioned=False,
  )
  world = ppo.player(CONFIG)
  model = decision.make_model(arm, conditioned_players.actions_of(world), 12)
  steps = jnp.zeros((1, 3))
  variables = jax.jit(model.init)(
    jax.random.key(0),
    steps,
    jnp.zeros((1, 3, 4)),
    jnp.zeros((1, 3), int),
    jnp.zeros((1, 3), int),
  )
  scale = decision.Scales(
    np.arange(4, dtype=np.float32),
    np.full(4, 0.5, np.float32),
    np.float32(12.0),
  )
  player = conditioned_players.Player(CONFIG, False, model, variables, scale)
  return arm, world, player
