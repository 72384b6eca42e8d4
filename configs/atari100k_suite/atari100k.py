r"""Atari-100k: one agent on all 26 games, five seeds of each.

    python -m experiments.atari100k_suite \
      --config=configs/atari100k_suite/atari100k.py --workdir=runs/atari100k

SPR with augmentation as in its paper: 100,000 steps of each game, two updates a
step, and 100 whole games of every policy at the end. `:AGENT` chooses another
agent of `jaxseq.spr.variants`, such as `:der` or `:bbf`. It needs the package
ale-py and a GPU: one game takes many hours on a few CPU cores.

    --config=configs/atari100k_suite/atari100k.py:tiny

is one game with small networks and a few steps: it only checks that everything
works.
"""

from configs import variants
from configs.spr import _shared
from experiments.atari100k_suite import program as atari100k_suite
from experiments.atari100k_suite import published
from jaxseq.spr import variants as agents
from jaxseq.training import configuration


def _suite(agent: str) -> atari100k_suite.Config:
  """Returns the suite of an agent."""
  game = _shared.on_atari(agent, published.GAMES[0])
  suite = atari100k_suite.Config(**vars(game))
  # The references belong to one game.
  return configuration.updated(
    suite, num_seeds=5, tensorboard=False, references={}
  )


get_config = variants.Variants(
  spr=_suite("spr"),
  **{agent: _suite(agent) for agent in agents.names() if agent != "spr"},
  tiny=_shared.tiny(_suite("spr"), num_seeds=2, games=("pong",)),
)
