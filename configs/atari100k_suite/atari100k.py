r"""Atari-100k: one agent on all 26 games, five seeds of each.

    python -m experiments.atari100k_suite \
      --config=configs/atari100k_suite/atari100k.py --workdir=runs/atari100k

SPR with augmentation as in its paper: 100,000 steps of each game, two updates
a step, and 100 whole games of every policy at the end. `:AGENT` chooses another
agent of `jaxseq.spr.variants`, such as `:der` or `:bbf`. Needs the package
ale-py, and is made for a GPU: one game takes many hours on a few CPU cores.

    --config=configs/atari100k_suite/atari100k.py:tiny

is one game with small networks and a few steps: it learns nothing, and shows
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
    config = _shared.tiny(config)
    config.num_seeds = 2
    config.games = ("pong",)
  return config
