"""What the configs of Atari-100k share."""

import ml_collections
from ml_collections import config_dict

from jaxseq.spr import published


def atari100k(agent: str, game: str) -> ml_collections.ConfigDict:
  """Returns the benchmark: 100,000 steps, 100 games at the end, one seed."""
  if game not in published.GAMES:
    raise ValueError(
      f"variant: got {game!r}, expected one of the games "
      f"{', '.join(published.GAMES)}."
    )
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 1
  config.updates_per_chunk = 500
  # A checkpoint holds the replay, 0.7 GB for each seed.
  config.chunks_per_checkpoint = 40
  config.keep_checkpoints = 1
  config.evaluation_games = 100
  config.compiled_loop = config_dict.placeholder(bool)
  config.references = {
    "random": published.RANDOM[game],
    "human": published.HUMAN[game],
  }
  config.settings = {
    "environment": "atari",
    "game": game,
    "variant": agent,
    "num_steps": 100_000,
    # What else can be changed on the command line.
    "transition": {"kind": "conv"},
    "memory": {"mixer": "none"},
    "learning": {"done_n": "any"},
    # That of the agent, whichever it is, unless it is set.
    "agent": {"updates_per_step": config_dict.placeholder(int)},
  }
  config.arms = {agent: {}}
  return config
