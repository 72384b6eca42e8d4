r"""Plain copying: ten tokens, a hundred blanks, and the ten tokens again.

    python -m experiments.synthetic --config=configs/synthetic/copying.py \
      --workdir=runs/copying

The tokens always stand at the same places, so that a mixer whose dynamics do
not depend on its inputs can learn it (arXiv:2111.00396); after the training,
the table shows what becomes of longer gaps. `selective_copying.py` has them at
random places. `:tiny` learns nothing, and shows in seconds whether everything
works.
"""

import ml_collections

from configs import blocks
from configs.synthetic import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  task = {"blanks": 100, "memorise": 10, "vocab_size": 10}
  config = _shared.base(variant, VARIANTS, "copying", **task)
  config.update(num_updates=1000, updates_per_chunk=50, batch_size=32)
  config.arms = blocks.arms("s4", "s4d", "gru", "mamba")
  config.test_options = {f"{n} blanks": {"blanks": n} for n in (200, 400)}
  if variant == "tiny":
    task = {"blanks": 6, "memorise": 2, "vocab_size": 8}
    return _shared.tiny(config, task, longer={"blanks": 12})
  return config
