r"""R2D2 and PPO on images of MinAtar and Atari, by a convolutional encoder.

    python -m experiments.icrl --config=configs/icrl/images.py --workdir=DIR

MinAtar's Breakout, 10x10 pixels, with the single convolution of its paper
before an LSTM. `:ENV_ID` chooses another game, "Asterix-MinAtar" or, with the
package ale-py (`pip install 'jaxseq[atari]'`), "Pong-Atari", with four stacked
frames of 84x84, the three convolutions of DQN, and episodes that do not end
with a lost life. These need a GPU. The settings were chosen for their size,
without measured results.

    --config=configs/icrl/images.py:Breakout-MinAtar,tiny

is the same with small networks and a few updates: it only checks that
everything works, in a minute or two of compilation at first.
"""

import dataclasses

from configs.icrl import quickstart
from jaxseq.rl import rl_arms
from jaxseq.training import configuration

_SMALL = {"channels": (16,), "kernels": (3,), "strides": (1,)}
_DQN = {"channels": (32, 64, 64), "kernels": (8, 4, 3), "strides": (4, 2, 1)}
_AGENTS = {
  "r2d2": {
    "sequence_length": 32,
    "burn_in": 8,
    "replay_sequences": 4096,
    "learning_starts": 256,
    "batch_size": 32,
    "learning_rate": 3e-4,
    "gamma": 0.99,
    "epsilon_end": 0.02,
  },
  "ppo": {
    "rollout_length": 128,
    "num_epochs": 4,
    "num_minibatches": 4,
    "learning_rate": 3e-4,
    "gae_lambda": 0.95,
    "entropy_coef": 0.01,
  },
}
_TINY = {
  "ppo": {"rollout_length": 8, "num_epochs": 1},
  "r2d2": {
    "sequence_length": 4,
    "burn_in": 2,
    "learning_starts": 8,
    "replay_sequences": 16,
    "num_minibatches": 1,
    "batch_size": 4,
  },
}


def get_config(variant: str = "Breakout-MinAtar") -> rl_arms.Config:
  env_id, _, size = variant.partition(",")
  if size not in ("", "tiny"):
    raise ValueError(
      f"variant: got {variant!r}, expected ENV_ID or ENV_ID,tiny."
    )
  encoder = _SMALL if env_id.endswith("-MinAtar") else _DQN
  network = {
    "encoder": {"kind": "conv", "renormalize": False, **encoder},
    "stack": {
      "mixer": "lstm",
      "d_model": 128,
      "num_layers": 1,
      "norm": "layer",
    },
    "encoder_widths": (128,),
    "head_widths": (128,),
  }
  config = dataclasses.replace(
    quickstart.FULL,
    references={},
    num_seeds=1,
    agent={"env_id": env_id, "num_envs": 16, "total_steps": 2_000_000},
    arms={
      name: {"algorithm": name, "network": network, **fields}
      for name, fields in _AGENTS.items()
    },
  )
  if not size:
    return config
  channels = {"channels": (2,) * len(encoder["channels"])}
  arms = configuration.merged(config.arms, _TINY)
  for name in arms:
    network = {"network": {"encoder": channels}}
    arms[name] = configuration.merged(arms[name], network)
  return configuration.updated(
    quickstart.small(dataclasses.replace(config, arms=arms), total_steps=64),
    updates_per_chunk=1,
    evaluation_episodes=2,
  )
