r"""Learning within an episode across tasks, and on one never trained on.

    python -m experiments.icrl --config=configs/icrl/projected_control.py \
      --workdir=runs/projected_control

An episode is four trials of 200 steps at one of four tasks of continuous
control, seen and acted on through random matrices that are new in each episode.
The policies are evaluated on each task alone, and on Reacher-misc, which they
have never seen. The arm "forgets" is the same network with a fresh memory in
every trial, "none" has no memory at all. Rewards are scaled so that those of a
trial lie between -1 and 1. The network is that of `projected_cartpole`. It has
not been run to its end by us.

    --config=configs/icrl/projected_control.py:tiny

learns nothing, on two of the tasks, and shows in two or three minutes, most of
them spent compiling, whether everything works.
"""

import ml_collections

from configs.icrl import projected_cartpole
from jaxseq.rl import meta_suites


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  if variant not in ("full", "tiny"):
    raise ValueError(f"variant: got {variant!r}, expected 'full' or 'tiny'.")
  config = projected_cartpole.get_config(variant)
  config.ppo.update(
    env_id="ProjectedControl", returns_per_trial=False, entropy_coef=0.0
  )
  options = {}
  evaluated = meta_suites.CONTROL_TASKS
  if variant == "full":
    config.num_seeds = 2
    config.ppo.total_steps = 4_000_000
  else:
    tasks = meta_suites.TRAINING_TASKS[:2]
    options = {"tasks": tasks, "num_trials": 2, "trial_steps": 12}
    evaluated = meta_suites.HELD_OUT_TASKS
  config.evaluations = {task: {"tasks": (task,)} for task in evaluated}
  config.arms = projected_cartpole.arms(
    config.arms.gru.network.to_dict(), options
  )
  return config
