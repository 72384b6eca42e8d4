r"""Pathfinder: are two discs on the same dashed path? Images as sequences.

    python -m experiments.classify --config=configs/classify/pathfinder.py \
      --workdir=runs/pathfinder

Images of 32 by 32 pixels, sequences of 1,024, generated and kept in the data
folder; 16,000 to train on, a tenth of the Long Range Arena's, whose own size is
in `lra.py`. Chance is 0.5, and few networks leave it before many epochs. Meant
for a GPU. `:tiny` learns nothing, and shows in seconds whether everything
works.
"""

import ml_collections

from configs import supervised
from configs.classify import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "pathfinder", size=32)
  config.data_options.update(train=16_000, valid=2000, test=2000)
  config.num_updates = 50_000
  config.network.stack.update(
    d_model=128, num_layers=6, norm="batch", dropout=0.05
  )
  config.optimizer.update(learning_rate=4e-3, warmup_steps=500)
  config.references = {"chance": 0.5}
  config.arms = {
    "s5": {"network": {"stack": _shared.s5_paper(256, 8)}},
  }
  if variant == "tiny":
    config.data_options.update(train=8, valid=4, test=6, cached=False)
    return supervised.tiny(config)
  return config
