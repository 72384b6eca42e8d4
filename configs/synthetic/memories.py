r"""Mixture-of-Memories beside one memory: recall where capacity matters.

    python -m experiments.synthetic --config=configs/synthetic/memories.py \
      --workdir=runs/memories

The task of `mqar.py` with 24 pairs for states of few keys: a short convolution
puts keys beside their values, and one layer of `mom` has to keep them: four
memories, of which an element comes to two, and a shared one (arXiv:2502.13685),
with keys of width 8. Beside it the same recurrence with one memory: as large as
one of them, or as all five, with wider keys or with wider values. `:tiny`
learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs import blocks
from configs.synthetic import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  task = {"length": 128, "pairs": 24, "vocab_size": 256}
  config = _shared.base(variant, VARIANTS, "mqar", "rms", **task)
  config.update(num_updates=1000, updates_per_chunk=100, batch_size=32)
  config.optimizer.update(learning_rate=4e-3)
  config.network.stack.update(mixer="short_conv", **blocks.TRANSFORMER)
  small = {"heads": 2, "d_key": 8, "d_value": 16, "d_conv": 1}
  one = {**small, "memories": 1, "active": 1, "shared": False}
  config.arms = {
    name: {"network": {"stack": {"hybrid": {"mom": options}}}}
    for name, options in {
      "mom": small,
      "one_small": one,
      "one_wide_keys": {**one, "d_key": 40},
      "one_wide_values": {**one, "d_value": 80},
    }.items()
  }
  config.test_options = {f"{n} pairs": {"pairs": n} for n in (8, 16, 32)}
  if variant == "tiny":
    arms = config.arms
    task = {"length": 8, "pairs": 2, "vocab_size": 8}
    config = _shared.tiny(config, task, longer={"length": 12})
    config.arms = {"mom": arms["mom"]}
    config.network.stack.num_layers = 2
  return config
