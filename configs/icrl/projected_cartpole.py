r"""Learning within an episode: cart-poles seen through a random matrix.

    python -m experiments.icrl --config=configs/icrl/projected_cartpole.py \
      --workdir=runs/projected_cartpole

An episode is 16 trials of at most 25 steps at one cart-pole, whose position and
angle are shown through a random matrix that is new in each episode: the agent
has to infer the meaning of the numbers. The return of a trial is at most 1;
`trials.png` shows the return of each trial in episodes with new matrices. The
arm "forgets" is the same network with a fresh memory in every trial, "none" has
no memory.

All trials of an episode start from the same state, in which the pole may lean
by up to 11 degrees (a trial ends at 12), and position and angle have a little
noise (5 mm, 0.3 degrees). So the first steps of a trial decide it but reveal
little: a memory of earlier trials helps. It takes about 20 minutes on two
cores.

    --config=configs/icrl/projected_cartpole.py:long

has trials of 100 steps and four times the noise: the matrix can be inferred
within a trial, and a fresh memory does as well.

    --config=configs/icrl/projected_cartpole.py:s5

has two layers of S5 as memory instead of a GRU.

Two settings speed up learning. Observations are divided by their standard
deviations, because the difference of two observations, which reveals the
velocity, is tiny. And returns end with their trial: all trials pay the same for
a step, so that with a discount of 0.99 it would hardly matter to an agent
whether the trial continues or the next one begins.

    --config=configs/icrl/projected_cartpole.py:paper

has the 16 trials of 200 steps of arXiv:2303.03982, without noise and nearly
upright at first, and its network; it is meant for a GPU, and we have not run it
to its end. `:tiny` only checks that everything works, in a minute or two of
compilation at first.
"""

import dataclasses

from configs import variants
from configs.icrl import quickstart
from jaxseq.rl import rl_arms
from jaxseq.training import configuration

OPTIONS = {
  "num_trials": 16,
  "max_steps": 25,
  "noise_sigma": 0.005,
  "max_start": 0.19,
}
# As in the paper.
LONG_OPTIONS = {"num_trials": 16, "max_steps": 200}
S5 = {
  "mixer": "s5",
  "mixer_options": {"ssm_size": 128, "blocks": 1},
  "d_model": 128,
  "num_layers": 2,
  "norm": "layer",
  "activation": "full_glu",
  "residual": True,
}
LARGE_S5 = {
  "mixer": "s5",
  "mixer_options": {"ssm_size": 256, "blocks": 1},
  "d_model": 256,
  "num_layers": 4,
}


def network(stack: dict[str, object], width: int = 128) -> dict[str, object]:
  """Returns a network around a stack."""
  return {"stack": stack, "encoder_widths": (width,), "head_widths": (width,)}


GRU = network({**quickstart.GRU, "d_model": 128})
SMALL_GRU = network({**quickstart.GRU, "d_model": 8}, 8)


def arms(
  network: dict[str, dict], options: dict[str, object]
) -> dict[str, dict]:
  """Returns arms with a kept memory, a reset memory, and without memory."""
  kept = tuple(options.items())
  stack = network["stack"]
  return {
    stack["mixer"]: {"network": network, "env_options": kept},
    "forgets": {
      "network": network,
      "env_options": (*kept, ("keep_memory", False)),
    },
    "none": {
      "network": {**network, "stack": {**stack, "num_layers": 0}},
      "env_options": kept,
    },
  }


FULL = rl_arms.Config(
  num_seeds=4,
  chunks_per_checkpoint=10,
  evaluation_episodes=512,
  agent={
    "env_id": "ProjectedCartPole",
    "normalize_observation": True,
    "returns_per_trial": True,
    "num_envs": 64,
    "rollout_length": 256,
    "total_steps": 3_000_000,
    "num_epochs": 4,
    "num_minibatches": 4,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "linear",
    "gae_lambda": 0.95,
    "entropy_coef": 0.01,
  },
  arms=arms(GRU, OPTIONS),
)
TINY_ARMS = arms(SMALL_GRU, {"num_trials": 2, "max_steps": 12})
TINY = configuration.updated(
  FULL,
  num_seeds=1,
  updates_per_chunk=2,
  chunks_per_checkpoint=1,
  evaluation_episodes=8,
  agent={
    "num_envs": 4,
    "rollout_length": 32,
    "total_steps": 4 * 128,
    "num_epochs": 1,
  },
  # Every arm takes equally long to compile.
  arms={name: TINY_ARMS[name] for name in ("gru", "none")},
)
get_config = variants.Variants(
  full=FULL,
  s5=dataclasses.replace(FULL, arms=arms(network(S5), OPTIONS)),
  long=dataclasses.replace(
    FULL, arms=arms(GRU, OPTIONS | {"max_steps": 100, "noise_sigma": 0.02})
  ),
  paper=configuration.updated(
    FULL,
    num_seeds=1,
    updates_per_chunk=1,
    agent={
      "normalize_observation": False,
      "returns_per_trial": False,
      "rollout_length": 1024,
      "total_steps": 15_000_000,
      "num_epochs": 30,
      "num_minibatches": 8,
      "learning_rate": 5e-5,
      "learning_rate_schedule": "constant",
      "gae_lambda": 1.0,
      "entropy_coef": 0.0,
    },
    arms=arms({"stack": LARGE_S5}, LONG_OPTIONS),
  ),
  tiny=TINY,
)
