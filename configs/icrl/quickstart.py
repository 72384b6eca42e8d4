r"""S5 against a GRU on a memory task, in minutes on two CPU cores.

    python -m experiments.icrl --config=configs/icrl/quickstart.py \
      --workdir=runs/quickstart

RepeatPreviousEasy deals a deck of cards one by one; at every step the agent
names the suit of the card three before the one on show. Without memory the mean
return is -0.5, a perfect player gets 1. Expected over the last updates of the
training, and in evaluation: 0.97 or more for every seed; S5 exceeds chance
first. It takes a minute or two on two cores.

    --config=configs/icrl/quickstart.py:tiny

is the same with small networks and a few updates: it only checks that
everything works, in a minute or two of compilation at first.

    --config=configs/icrl/quickstart.py:hybrid

alternates layers of S5 and attention, with feed-forward halves, in bfloat16;
`:hybrid_tiny` is the same with a few updates.
"""

from configs import blocks
from configs import variants
from jaxseq.rl import rl_arms
from jaxseq.training import configuration

S5 = {
  "mixer": "s5",
  "mixer_options": {"ssm_size": 64, "blocks": 1},
  "d_model": 64,
  "num_layers": 2,
  "norm": "layer",
}
GRU = {
  "mixer": "gru",
  "d_model": 64,
  "num_layers": 1,
  "activation": "none",
  "residual": False,
}
WIDTHS = {"encoder_widths": (128,), "head_widths": (128, 128)}
SMALL = {
  "network": {
    "encoder_widths": (8,),
    "head_widths": (8,),
    "stack": {"d_model": 8},
  }
}


def arms(widths: object = None, **stacks: object) -> dict[str, dict]:
  """Returns arms with these stacks and network widths."""
  return {
    name: {"network": {"stack": stack, **(widths or WIDTHS)}}
    for name, stack in stacks.items()
  }


def small(config: rl_arms.Config, **agent: object) -> rl_arms.Config:
  """Shrinks a comparison to a test run of seconds."""
  return configuration.updated(
    config,
    updates_per_chunk=2,
    chunks_per_checkpoint=1,
    evaluation_episodes=8,
    agent={"num_envs": 4, **agent},
    arms={
      name: configuration.merged(arm, SMALL)
      for name, arm in config.arms.items()
    },
  )


FULL = rl_arms.Config(
  references={"perfect": 1.0, "no memory": -0.5},
  agent={
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
  },
  arms=arms(s5=S5, gru=GRU),
)
TINY = small(FULL, rollout_length=64, total_steps=6 * 256)
HYBRID = configuration.updated(
  FULL, arms=arms(hybrid=blocks.hybrid(64, window=16))
)
get_config = variants.Variants(
  full=FULL,
  tiny=TINY,
  hybrid=HYBRID,
  hybrid_tiny=small(HYBRID, rollout_length=64, total_steps=6 * 256),
)
