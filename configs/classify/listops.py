r"""ListOps: the value of nested lists of digits under MIN, MAX, MED and SM.

    python -m experiments.classify --config=configs/classify/listops.py \
      --workdir=runs/listops

Short expressions of 51 to 199 tokens, generated and kept in the data folder.
Some values are commoner than others: the floor is the share of the commonest,
about 0.2. The Long Range Arena's own size is in `lra.py`. `:tiny` learns
nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs import supervised
from configs.classify import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "listops", size="small")
  config.num_updates = 10_000
  config.network.stack.update(d_model=96, num_layers=4, norm="layer")
  config.optimizer.update(learning_rate=2e-3, weight_decay=0.05)
  if variant == "tiny":
    config.data_options.update(train=20, valid=5, test=10, cached=False)
    return supervised.tiny(config)
  return config
