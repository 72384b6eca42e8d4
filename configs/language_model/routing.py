r"""The King James Bible by attention to all, to what is near, and by routing.

    python -m experiments.language_model --workdir=runs/routing \
      --config=configs/language_model/routing.py

Two layers of width 64 read pieces of 512 bytes. Attention to all; attention to
32 elements, the present one counted; and routing, half of whose heads see
these, and half the last 32 of one of 6 clusters. The text is that of Debian's
package bible-kjv (`apt-get install bible-kjv`). Ten minutes of one core; with
`--config.num_updates=300` it is who learns quickly that is compared. `:tiny`, a
routing network alone, learns nothing, and shows within a minute whether the
program works.
"""

import ml_collections

from configs import blocks
from configs import supervised

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = supervised.base(variant, VARIANTS, data="kjv", data_options={})
  config.update(num_updates=3000, updates_per_chunk=50, batch_size=4)
  config.update(chunks_per_evaluation=100, chunks_per_checkpoint=100)
  config.update(num_seeds=1, length=512, jump_every=8, test_streams=16)
  config.network = {"stack": {"d_model": 64, "num_layers": 2, "norm": "rms"}}
  config.optimizer = supervised.adamw(4e-3, 0.1, warmup_steps=50)
  config.arms = {
    "attention": _arm("attention", window=512),
    "attention_32": _arm("attention", window=31),
    "routing": _arm("routing", window=32, clusters=6),
  }
  if variant == "tiny":
    supervised.tiny_text(config, "routing")
  return config


def _arm(mixer, **options):
  """An arm with options of its mixer."""
  arm = blocks.arms(mixer)[mixer]
  arm["network"]["stack"]["mixer_options"] = options
  return arm
