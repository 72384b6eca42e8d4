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


def atari100k(agent: str, variant: str) -> ml_collections.ConfigDict:
  """Returns the benchmark: 100,000 steps, 100 games at the end, one seed.

  Args:
    agent: one of `jaxseq.spr.variants`.
    variant: a game; or "tiny", some steps of pong with a small agent.
  """
  _validate.choice("variant", variant, (*published.GAMES, "tiny"))
  game = "pong" if variant == "tiny" else variant
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
  return tiny(config) if variant == "tiny" else config


def tiny(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Shrinks the benchmark to seconds: it learns nothing."""
  config.update(updates_per_chunk=10, chunks_per_checkpoint=2)
  config.update(evaluation_games=1, gif_frames=8)
  config.settings.update(
    num_steps=50,
    batch_size=2,
    encoder={"channels": (2, 2, 2)},
    head={"hidden": 4},
    learning={"num_predictions": 2},
    agent={"min_replay": 40, "updates_per_step": 1},
  )
  return config
