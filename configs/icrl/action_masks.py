r"""Battleship with and without a mask of the cells already shot at.

    python -m experiments.icrl --config=configs/icrl/action_masks.py \
      --workdir=DIR

A shot at an old cell is wasted. The arm `masked` cannot do this, because the
mask allows only new cells; `free` chooses among all cells, without the mask.
The mask is not an input of the network. Random shots at new cells get 0.08 on
average, at any cells -0.45. `:tiny` only checks that everything works, in a
minute or two of compilation at first.
"""

from configs import variants
from configs.icrl import quickstart
from jaxseq.training import configuration

_GRU = quickstart.arms(gru=quickstart.GRU)["gru"]
FULL = configuration.updated(
  quickstart.FULL,
  num_seeds=3,
  references={"random, new cells": 0.077, "random": -0.449},
  agent={"env_id": "BattleshipEasy", "total_steps": 204_800},
  arms={
    name: {**_GRU, "env_options": tuple(options.items())}
    for name, options in {
      "masked": {"masked": True},
      "free": {"cells": True},
    }.items()
  },
)
get_config = variants.Variants(
  full=FULL,
  tiny=quickstart.small(FULL, rollout_length=64, total_steps=6 * 256),
)
