r"""Learning within an episode across tasks, and on some never trained on.

    python -m experiments.icrl --config=configs/icrl/projected_control.py \
      --workdir=runs/projected_control

An episode is eight trials of at most 25 steps at one of four cart-poles, which
differ in the length of the pole, the gravity and the motor. Position and angle
are shown as 12 numbers, through a random matrix that is new in each episode.
The policies are evaluated on each cart-pole alone, and on two that they have
never seen: one whose numbers lie between those of the others, and one whose lie
beyond them. The arm "forgets" is the same network with a fresh memory in every
trial, "none" has no memory at all. A trial is worth at most 1. As in
`projected_cartpole`, all trials of an episode start from the same state, and
returns end with their trial. Half an hour on one core.

    --config=configs/icrl/projected_control.py:bodies

has four trials of 200 steps at bodies of four kinds, seen and acted on through
random matrices, and Reacher-misc, which is never trained on. Nothing was
learned there in a million steps.

    --config=configs/icrl/projected_control.py:tiny

learns nothing, on two of the tasks, and shows in two or three minutes, most of
them spent compiling, whether everything works.
"""

import ml_collections

from configs.icrl import projected_cartpole
from jaxseq import _validate
from jaxseq.rl import meta_suites

VARIANTS = ("cartpoles", "bodies", "tiny")


def get_config(variant: str = "cartpoles") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = projected_cartpole.get_config(
    "tiny" if variant == "tiny" else "full"
  )
  config.agent.env_id = "ProjectedControl"
  if variant == "bodies":
    config.num_seeds = 2
    config.agent.update(
      returns_per_trial=False, entropy_coef=0.0, total_steps=4_000_000
    )
    options = {}
    evaluated = meta_suites.CONTROL_TASKS
  else:
    config.num_seeds = 1 if variant == "tiny" else 3
    options = {
      "tasks": meta_suites.TRAINING_CART_POLES,
      "num_trials": 8,
      "trial_steps": 25,
      "action_size": None,
      "same_start": True,
    }
    evaluated = meta_suites.CART_POLES
  if variant == "tiny":
    options.update(
      tasks=meta_suites.TRAINING_CART_POLES[:2], num_trials=2, trial_steps=12
    )
    evaluated = meta_suites.HELD_OUT_CART_POLES[:1]
  config.evaluations = {task: {"tasks": (task,)} for task in evaluated}
  config.arms = projected_cartpole.arms(
    config.arms.gru.network.to_dict(), options
  )
  if variant == "tiny":
    # An arm takes as long to compile as any other.
    config.arms = {"gru": config.arms.gru.to_dict()}
  return config
