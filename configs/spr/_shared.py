"""What the configs of SPR share."""

from typing import Any

import ml_collections
from ml_collections import config_dict

from jaxseq import _validate
from jaxseq.rl import envs
from jaxseq.spr import published


def comparison(**fields: Any) -> ml_collections.ConfigDict:
  """Returns a comparison from one seed, with 100 games at the end."""
  return ml_collections.ConfigDict(
    {"seed": 0, "evaluation_games": 100, **fields}
  )


def atari100k(agent: str, game: str) -> ml_collections.ConfigDict:
  """Returns the benchmark: 100,000 steps, 100 games at the end, one seed."""
  _validate.choice("variant", game, published.GAMES)
  config = comparison(
    num_seeds=1,
    updates_per_chunk=500,
    # A checkpoint holds the replay, 0.7 GB for each seed.
    chunks_per_checkpoint=40,
    keep_checkpoints=1,
    compiled_loop=config_dict.placeholder(bool),
  )
  config.references = {
    "random": published.RANDOM[game],
    "human": published.HUMAN[game],
  }
  open_ = config_dict.placeholder
  config.settings = {
    "env_id": envs.atari_id(game),
    "env_options": {},
    "variant": agent,
    "num_steps": 100_000,
    "batch_size": 32,
    # What else can be changed on the command line; None is as published.
    "self_prediction": True,
    "encoder": {"channels": open_(tuple)},
    "head": {"hidden": open_(int)},
    "transition": {"stack": {"mixer": "none"}},
    "memory": {"stack": {"mixer": "none"}},
    "learning": {
      "done_n": "any",
      "num_predictions": open_(int),
      "spr_weight": open_(float),
      "momentum_tau": open_(float),
      "optimizer": {"learning_rate": open_(float)},
    },
    "agent": {
      "updates_per_step": open_(int),
      "min_replay": open_(int),
      "num_steps": open_(int),
      "gamma": open_(float),
      "prioritized": open_(bool),
      "resets": {"every": open_(int)},
    },
  }
  config.arms = {agent: {}}
  return config
