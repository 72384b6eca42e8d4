r"""Atari-100k: one agent on all 26 games, five seeds of each.

    python -m experiments.atari100k_suite \
      --config=configs/atari100k_suite/atari100k.py --workdir=runs/atari100k

SPR with augmentation as in its paper: 100,000 steps of each game, two updates
a step, and 100 whole games of every policy at the end. `:AGENT` chooses another
agent of `jaxseq.spr.variants`, such as `:der` or `:bbf`. Needs the package
ale-py, and is made for a GPU: one game takes many hours on a few CPU cores.

    --config=configs/atari100k_suite/atari100k.py:tiny

is two games with small networks and a few steps: it learns nothing, and shows
whether everything works.
"""

import ml_collections

from configs.spr import _shared
from jaxseq import _validate
from jaxseq.spr import published
from jaxseq.spr import variants

VARIANTS = (*variants.names(), "tiny")


def get_config(variant: str = "spr") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  agent = "spr" if variant == "tiny" else variant
  config = _shared.atari100k(agent, published.GAMES[0])
  config.num_seeds = 5
  config.tensorboard = False
  # Those of one game.
  config.references = {}
  config.games = published.GAMES
  if variant == "tiny":
    config.num_seeds = 2
    config.updates_per_chunk = 10
    config.chunks_per_checkpoint = 2
    config.evaluation_games = 1
    config.gif_frames = 8
    config.games = ("boxing", "pong")
    config.settings.update(
      num_steps=50,
      batch_size=2,
      encoder={"channels": (2, 2, 2)},
      head={"hidden": 4},
      learning={"num_predictions": 2},
      agent={"min_replay": 40, "updates_per_step": 1},
    )
  return config
