r"""Learning within an episode across tasks, including unseen ones.

    python -m experiments.icrl --config=configs/icrl/projected_control.py \
      --workdir=runs/projected_control

An episode is eight trials of at most 25 steps at one of four cart-poles, which
differ in the length of the pole, the gravity and the motor. Position and angle
are shown as 12 numbers, through a random matrix that is new in each episode.
The policies are evaluated on each cart-pole separately, and on two unseen ones:
one with parameters between those of the others, and one with parameters beyond
them. The arm "forgets" is the same network with a fresh memory in every trial,
"none" has no memory. The return of a trial is at most 1. As in
`projected_cartpole`, all trials of an episode start from the same state, and
returns end with their trial. Half an hour on one core.

    --config=configs/icrl/projected_control.py:bodies

has four trials of 200 steps at bodies of four kinds, observed and controlled
through random matrices, and Reacher-misc, which is not trained on. A million
steps were not enough to learn them.

    --config=configs/icrl/projected_control.py:tiny

only checks on two of the tasks that everything works, in two or three minutes,
mostly of compilation.
"""

from configs import variants
from configs.icrl import projected_cartpole
from jaxseq.rl import meta_suites
from jaxseq.training import configuration

OPTIONS = {
  "tasks": meta_suites.TRAINING_CART_POLES,
  "num_trials": 8,
  "trial_steps": 25,
  "action_size": None,
  "same_start": True,
}
SMALL = {
  "tasks": meta_suites.TRAINING_CART_POLES[:2],
  "num_trials": 2,
  "trial_steps": 12,
}
AGENT = {"env_id": "ProjectedControl"}


def _on(tasks: tuple[str, ...]) -> dict[str, dict]:
  """Returns separate evaluations on each task."""
  return {task: {"tasks": (task,)} for task in tasks}


CART_POLES = configuration.updated(
  projected_cartpole.FULL,
  num_seeds=3,
  agent=AGENT,
  evaluations=_on(meta_suites.CART_POLES),
  arms=projected_cartpole.arms(projected_cartpole.GRU, OPTIONS),
)
SMALL_ARMS = projected_cartpole.arms(
  projected_cartpole.SMALL_GRU, OPTIONS | SMALL
)
get_config = variants.Variants(
  cartpoles=CART_POLES,
  bodies=configuration.updated(
    CART_POLES,
    num_seeds=2,
    agent={
      "returns_per_trial": False,
      "entropy_coef": 0.0,
      "total_steps": 4_000_000,
    },
    evaluations=_on(meta_suites.CONTROL_TASKS),
    arms=projected_cartpole.arms(projected_cartpole.GRU, {}),
  ),
  tiny=configuration.updated(
    projected_cartpole.TINY,
    agent=AGENT,
    evaluations=_on(meta_suites.HELD_OUT_CART_POLES[:1]),
    # Every arm takes equally long to compile.
    arms={"gru": SMALL_ARMS["gru"]},
  ),
)
