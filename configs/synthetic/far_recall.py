r"""Associative recall further back than a window, by attention and by clusters.

    python -m experiments.synthetic --config=configs/synthetic/far_recall.py \
      --workdir=runs/far_recall

The task of `mqar.py` with 64 tokens: 8 pairs come in sequences of 64. Attention
to all; attention to 16 elements, the present one counted; and routing, half of
whose heads see these, and half the last 16 of one of 4 clusters. `:tiny` learns
nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs import blocks
from configs.synthetic import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  task = {"length": 64, "pairs": 8, "vocab_size": 64}
  config = _shared.base(variant, VARIANTS, "mqar", **task)
  config.update(num_updates=3000, num_seeds=1, updates_per_chunk=200)
  config.update(batch_size=64)
  config.optimizer.update(weight_decay=0.1, warmup_steps=200)
  config.arms = blocks.arms("attention", "routing")
  config.arms["attention_16"] = _of("attention", window=15)
  config.arms["routing"] = _of("routing", window=16, clusters=4)
  config.test_options = {"length 128": {"length": 128}}
  if variant == "tiny":
    task = {"length": 8, "pairs": 2, "vocab_size": 8}
    return _shared.tiny(config, task, longer={"length": 12})
  return config


def _of(mixer, **options):
  """An arm with options of its mixer."""
  arm = blocks.arms(mixer)[mixer]
  arm["network"]["stack"]["mixer_options"] = options
  return arm
