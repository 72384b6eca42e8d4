r"""Learning within an episode across tasks, and on one never trained on.

    python -m experiments.icrl --config=configs/icrl/projected_control.py \
      --workdir=runs/projected_control

An episode is four trials of 200 steps at one of four tasks of continuous
control, seen and acted on through random matrices that are new in each episode.
The policies are evaluated on each task alone, and on Reacher-misc, which they
have never seen. The arm "forgets" is the same network with a fresh memory in
every trial, "none" has no memory at all. Rewards are scaled so that those of a
trial lie between -1 and 1.

    --config=configs/icrl/projected_control.py:tiny

learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from jaxseq.rl import meta_suites


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  if variant not in ("full", "tiny"):
    raise ValueError(f"variant: got {variant!r}, expected 'full' or 'tiny'.")
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.updates_per_chunk = 5
  config.chunks_per_checkpoint = 10
  config.evaluation_episodes = 128
  config.evaluations = {
    task: {"tasks": (task,)} for task in meta_suites.CONTROL_TASKS
  }
  config.ppo = {
    "env_id": "ProjectedControl",
    "normalize_observation": True,
    "num_envs": 64,
    "rollout_length": 200,
    "total_steps": 4_000_000,
    "num_epochs": 4,
    "num_minibatches": 4,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "linear",
    "gae_lambda": 0.95,
  }
  network = {
    "mixer": "gru",
    "d_model": 128,
    "encoder_widths": (128,),
    "head_widths": (128,),
    "num_layers": 1,
    "activation": "none",
    "residual": False,
  }
  options = {}
  if variant == "tiny":
    options = {"num_trials": 2, "trial_steps": 12}
    config.num_seeds = 1
    config.updates_per_chunk = 2
    config.chunks_per_checkpoint = 1
    config.evaluation_episodes = 8
    config.ppo.update(
      num_envs=4, rollout_length=32, total_steps=4 * 128, num_epochs=1
    )
    network.update(d_model=8, encoder_widths=(8,), head_widths=(8,))
  config.arms = {
    "gru": {"network": network, "env_options": tuple(options.items())},
    "forgets": {
      "network": network,
      "env_options": (*options.items(), ("keep_memory", False)),
    },
    "none": {
      "network": {**network, "num_layers": 0},
      "env_options": tuple(options.items()),
    },
  }
  return config
