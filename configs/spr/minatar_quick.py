r"""SPR against the same agent without self-prediction, on a MinAtar game.

    python -m experiments.spr --config=configs/spr/minatar_quick.py \
      --workdir=runs/spr

Breakout on 10x10 images: expect returns of 6 to 9 after some minutes on two
cores; random play gets 0.4. `:GAME` chooses another game: asterix, freeway,
seaquest or space_invaders. The agents are those of the paper but for their
size, a larger learning rate, and images that are not augmented: a shift by 4 of
10 pixels would change what they mean. Without augmentation the targets of the
predictions follow slowly, as in the paper.

    --config=configs/spr/minatar_quick.py:tiny

is the same with small networks and a few steps: it learns nothing, and shows
in seconds whether everything works.
"""

import ml_collections

from configs.spr import _shared
from jaxseq import _validate

GAMES = {
  "asterix": "Asterix-MinAtar",
  "breakout": "Breakout-MinAtar",
  "freeway": "Freeway-MinAtar",
  "seaquest": "Seaquest-MinAtar",
  "space_invaders": "SpaceInvaders-MinAtar",
}

VARIANTS = (*GAMES, "tiny")


def get_config(variant: str = "breakout") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = _shared.comparison(
    num_seeds=2,
    updates_per_chunk=250,
    chunks_per_checkpoint=20,
    keep_checkpoints=2,
  )
  config.settings = {
    "env_id": GAMES["breakout" if variant == "tiny" else variant],
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
    # What else can be changed on the command line.
    "transition": {"stack": {"mixer": "none"}},
    "memory": {"stack": {"mixer": "none"}},
  }
  config.arms = {"spr": {}, "rainbow": {"self_prediction": False}}
  if variant == "tiny":
    config.updates_per_chunk = 10
    config.chunks_per_checkpoint = 2
    config.evaluation_games = 4
    config.settings.update(num_steps=70, batch_size=4)
    config.settings.encoder = {"channels": (2,)}
    config.settings.head.hidden = 4
    config.settings.learning.num_predictions = 2
    config.settings.agent.min_replay = 40
  return config
