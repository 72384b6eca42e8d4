r"""SPR with mixers: as a memory, as the model of latents, and without.

    python -m experiments.spr --config=configs/spr/minatar_memory.py \
      --workdir=runs/spr_memory

The game and the agent of `minatar_quick` (`:GAME` and `:tiny` as there), three
times: as it is; with an LSTM between encoder and head, which learns from
replayed sequences; and with an LSTM in place of the convolutions that predict
latents. In the arms any mixer may stand for it. MinAtar's frames show all that
matters in most games, so that a memory has little to gain here.
"""

import ml_collections

from configs.spr import minatar_quick

VARIANTS = minatar_quick.VARIANTS


def get_config(variant: str = "breakout") -> ml_collections.ConfigDict:
  config = minatar_quick.get_config(variant)
  stack = {"mixer": "lstm", "mixer_options": {}, "d_model": 64}
  # Sequences of 8 in place of single steps: fewer of them make a batch.
  sequence = {"length": 8, "burn_in": 8}
  config.settings.learning.sequence = sequence
  config.settings.batch_size = 8
  if variant == "tiny":
    stack["d_model"] = 4
    config.settings.learning.sequence = {"length": 2, "burn_in": 3}
    config.settings.batch_size = 2
  config.arms = {
    "spr": {"batch_size": 4 if variant == "tiny" else 32},
    "memory": {"memory": {"stack": stack}},
    "mixer_transition": {
      "batch_size": 4 if variant == "tiny" else 32,
      "transition": {"stack": stack},
    },
  }
  return config
