r"""Pendulum-v1 from recorded episodes: numbers as actions.

    python -m experiments.decision --config=configs/decision/pendulum.py \
      --workdir=runs/decision_pendulum

As `cartpole.py`, with one torque for an action. Episodes have 200 steps; a
return is at most 0, and about -1,200 for a player that does not know what it is
doing. `:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs.decision import cartpole

VARIANTS = cartpole.VARIANTS


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = cartpole.get_config(variant)
  config.ppo.update(
    env_id="Pendulum-v1",
    gamma=0.9,
    num_envs=32,
    num_epochs=10,
    total_steps=500_000,
    entropy_coef=0.0,
    value_coef=1.0,
  )
  config.targets = (-1200.0, -800.0, -400.0, -150.0)
  if variant == "tiny":
    config.ppo.update(num_envs=4, num_epochs=1, total_steps=2 * 64)
    config.targets = (-100.0, -10.0)
  return config
