r"""Mixture-of-Memories beside one memory: recall where capacity matters.

    python -m experiments.synthetic --config=configs/synthetic/memories.py \
      --workdir=runs/memories

The task of `mqar.py:mixers`, 8 pairs in sequences of 32 but of 64 tokens alone,
for memories with keys of width 4: four of them, of which an element comes to
two, and a shared one (arXiv:2502.13685). Beside it the same recurrence with one
memory: as large as one of the five, or with as large a state as all of them and
their convolutions, by wider keys or by wider values. `:tiny` learns nothing,
and shows in seconds whether everything works.
"""

import ml_collections

from configs import blocks
from configs.synthetic import mqar
from jaxseq import _validate

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = mqar.get_config("tiny" if variant == "tiny" else "mixers")
  options = {"heads": 1, "d_key": 4, "d_value": 32}
  one = {**options, "memories": 1, "active": 1, "shared": False}
  arms = {
    "mom": options,
    "one_small": one,
    "one_wide_keys": {**one, "d_key": 30},
    "one_wide_values": {**one, "d_value": 174},
  }
  if variant == "tiny":
    arms = {"mom": options}
  else:
    config.num_updates = 1600
    config.task_options.vocab_size = 64
  config.arms = {name: blocks.arms("mom")["mom"] for name in arms}
  for name, options in arms.items():
    config.arms[name].network.stack.mixer_options = options
  return config
