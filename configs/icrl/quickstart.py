r"""S5 against a GRU on a memory task, in minutes on two CPU cores.

    python -m experiments.icrl --config=configs/icrl/quickstart.py \
      --workdir=runs/quickstart

RepeatPreviousEasy deals a deck of cards one by one; at every step the agent is
to name the suit of the card three before the one on show. Without memory the
mean return is -0.5, a perfect player gets 1. Expected over the last updates of
the training, and in evaluation: 0.97 or more for every seed; S5 is the first to
leave chance behind. Takes a minute or two on two cores.

    --config=configs/icrl/quickstart.py:tiny

is the same with small networks and a few updates: it learns nothing, and shows
in seconds whether everything works.

    --config=configs/icrl/quickstart.py:hybrid

has layers of S5 and of attention in turn, with feed-forward halves, in
bfloat16; `:hybrid_tiny` is that with a few updates.
"""

import ml_collections

from configs import blocks
from jaxseq import _validate

VARIANTS = ("full", "tiny", "hybrid", "hybrid_tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.updates_per_chunk = 5
  config.chunks_per_checkpoint = 6
  config.evaluation_episodes = 128
  config.references = {"perfect": 1.0, "no memory": -0.5}
  config.agent = {
    "env_id": "RepeatPreviousEasy",
    "normalize_observation": False,
    "num_envs": 16,
    "rollout_length": 256,
    "total_steps": 409_600,
    "num_epochs": 4,
    "num_minibatches": 4,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "linear",
    "gae_lambda": 0.95,
  }
  stacks = {
    "s5": {
      "mixer": "s5",
      "mixer_options": {"ssm_size": 64, "blocks": 1},
      "d_model": 64,
      "num_layers": 2,
      "norm": "layer",
    },
    "gru": {
      "mixer": "gru",
      "d_model": 64,
      "num_layers": 1,
      "activation": "none",
      "residual": False,
    },
  }
  if variant.startswith("hybrid"):
    stacks = {"hybrid": blocks.hybrid(64, window=16)}
  widths = {"encoder_widths": (128,), "head_widths": (128, 128)}
  config.arms = {
    name: {"network": {"stack": stack, **widths}}
    for name, stack in stacks.items()
  }
  if variant.endswith("tiny"):
    config.updates_per_chunk = 2
    config.chunks_per_checkpoint = 1
    config.evaluation_episodes = 8
    config.agent.update(num_envs=4, rollout_length=64, total_steps=6 * 256)
    for arm in config.arms.values():
      arm.network.update(encoder_widths=(8,), head_widths=(8,))
      arm.network.stack.d_model = 8
  return config
