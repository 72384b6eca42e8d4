r"""Recurrent Q-learning (R2D2) with two kinds of memory, on two CPU cores.

    python -m experiments.icrl --config=configs/icrl/r2d2.py --workdir=DIR

The task is the quickstart's, RepeatPreviousEasy: without memory the mean return
is -0.5, a perfect player gets 1. At the end of training one step in fifty is
random, which costs about 0.03; evaluations take the best action. Expected in
evaluation after 307,200 steps: 0.98 or more for every seed. It takes a few
minutes on two cores.

    --config=configs/icrl/r2d2.py:tiny

is the same with small networks and a few updates: it only checks that
everything works, in a minute or two of compilation at first. `:hybrid` and
`:hybrid_tiny` have the quickstart's alternating layers of S5 and attention.
"""

import dataclasses

from configs import variants
from configs.icrl import quickstart
from jaxseq.rl import rl_arms

AGENT = {
  "env_id": "RepeatPreviousEasy",
  "normalize_observation": False,
  "num_envs": 16,
  "sequence_length": 32,
  "burn_in": 8,
  "total_steps": 307_200,
  "replay_sequences": 2048,
  "learning_starts": 64,
  "num_minibatches": 4,
  "batch_size": 32,
  "learning_rate": 1e-3,
  "learning_rate_schedule": "linear",
  "adam_epsilon": 1e-8,
  "max_grad_norm": 10.0,
  "gamma": 0.9,
  "reward_scale": 25.0,
  "num_steps": 3,
  "target_period": 100,
  "epsilon_end": 0.02,
  "exploration_fraction": 0.3,
  "rescale_values": False,
}


def _learned_by_it(config: rl_arms.Config) -> rl_arms.Config:
  """Returns a quickstart comparison with this algorithm."""
  return dataclasses.replace(
    config,
    algorithm="r2d2",
    evaluation_greedy=True,
    updates_per_chunk=20,
    chunks_per_checkpoint=10,
    agent=AGENT,
  )


def _small(config: rl_arms.Config) -> rl_arms.Config:
  return quickstart.small(
    config, total_steps=6 * 128, learning_starts=8, batch_size=4
  )


FULL = _learned_by_it(quickstart.FULL)
HYBRID = _learned_by_it(quickstart.HYBRID)
get_config = variants.Variants(
  full=FULL, tiny=_small(FULL), hybrid=HYBRID, hybrid_tiny=_small(HYBRID)
)
