r"""SPR with mixers: as a memory, as the model of latents, and without.

    python -m experiments.spr --config=configs/spr/minatar_memory.py \
      --workdir=runs/spr_memory

The game and the agent of `minatar_quick` (`:GAME` and `:tiny` as there, the
latter without the first of these), three times: as it is; with an LSTM between
encoder and head, which learns from replayed sequences; and with an LSTM in
place of the convolutions that predict latents. In the arms any mixer may stand
for it. MinAtar's frames show all that matters in most games, so that a memory
has little to gain here.

    --config=configs/spr/minatar_memory.py:hybrid

has layers of S5 and of attention in turn, with feed-forward halves, in
bfloat16, in place of the LSTMs; `:hybrid_tiny` is that with a few steps.
"""

import ml_collections

from configs import blocks
from configs.spr import minatar_quick
from jaxseq import _validate

VARIANTS = (*minatar_quick.VARIANTS, "hybrid", "hybrid_tiny")


def get_config(variant: str = "breakout") -> ml_collections.ConfigDict:
  tiny, hybrid = variant.endswith("tiny"), variant.startswith("hybrid")
  _validate.choice("variant", variant, VARIANTS)
  game = "breakout" if hybrid else variant
  config = minatar_quick.get_config("tiny" if tiny else game)
  stack = {"mixer": "lstm", "mixer_options": {}, "d_model": 64}
  if hybrid:
    stack = blocks.hybrid(64, window=16)
  # Sequences of 8 in place of single steps: fewer of them make a batch.
  sequence = {"length": 8, "burn_in": 8}
  config.settings.learning.sequence = sequence
  config.settings.batch_size = 8
  if tiny:
    stack["d_model"] = 8 if hybrid else 4
    config.settings.learning.sequence = {"length": 2, "burn_in": 3}
    config.settings.batch_size = 2
  config.arms = {
    "spr": {"batch_size": 4 if tiny else 32},
    "memory": {"memory": {"stack": stack}},
    "mixer_transition": {
      "batch_size": 4 if tiny else 32,
      "transition": {"stack": stack},
    },
  }
  if tiny:
    # The agent of `minatar_quick`, which takes as long to compile as any other.
    del config.arms["spr"]
  return config
