r"""SPR against the same agent without self-prediction, on a MinAtar game.

    python -m experiments.spr --config=configs/spr/minatar_quick.py \
      --workdir=runs/spr

Breakout on 10x10 images: expect returns of 6 to 9 after a few minutes on two
cores; random play gets 0.4. `:GAME` chooses another game: asterix, freeway,
seaquest or space_invaders. The agents are those of the paper except for their
size, a larger learning rate, and no image augmentation: a shift by 4 of 10
pixels would change the meaning. Without augmentation the prediction targets are
updated slowly, as in the paper.

    --config=configs/spr/minatar_quick.py:tiny

is the same with small networks and a few steps: it only checks in seconds that
everything works.
"""

from configs import variants
from configs.spr import _shared
from jaxseq.spr import spr_arms
from jaxseq.training import configuration

GAMES = {
  "breakout": "Breakout-MinAtar",
  "asterix": "Asterix-MinAtar",
  "freeway": "Freeway-MinAtar",
  "seaquest": "Seaquest-MinAtar",
  "space_invaders": "SpaceInvaders-MinAtar",
}
BREAKOUT = spr_arms.Config(
  updates_per_chunk=250,
  chunks_per_checkpoint=20,
  keep_checkpoints=2,
  settings={
    "env_id": "Breakout-MinAtar",
    "env_options": {},
    "variant": "spr",
    "num_steps": 20_000,
    "head": {"hidden": 64},
    "learning": {
      "augmentation": None,
      "momentum_tau": 0.01,
      "optimizer": {"learning_rate": 5e-4},
    },
    "agent": {"min_replay": 1000, "updates_per_step": 1},
    # Other fields for the command line.
    **_shared.PLAIN,
  },
  arms={"spr": {}, "rainbow": {"self_prediction": False}},
)
TINY = configuration.updated(
  BREAKOUT,
  updates_per_chunk=10,
  chunks_per_checkpoint=2,
  evaluation_games=4,
  settings={
    "num_steps": 70,
    "batch_size": 4,
    "encoder": {"channels": (2,)},
    "head": {"hidden": 4},
    "learning": {"num_predictions": 2},
    "agent": {"min_replay": 40},
  },
)


def on(game: str) -> spr_arms.Config:
  """Returns the comparison on a game."""
  return configuration.updated(BREAKOUT, settings={"env_id": GAMES[game]})


get_config = variants.Variants(**{game: on(game) for game in GAMES}, tiny=TINY)
