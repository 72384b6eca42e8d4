r"""All mixers on short ListOps: nested lists of digits, 51 to 199 tokens.

    python -m experiments.compare --config=configs/compare/listops.py \
      --workdir=runs/compare_listops

Expressions are generated and kept in the data folder. Some values are commoner
than others: the floor is the share of the commonest, about 0.2. `:tiny` shows
in seconds whether everything works.
"""

import ml_collections

from configs.compare import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "listops", size="small")
  config.update(num_updates=1000, batch_size=32)
  config.optimizer.learning_rate = 2e-3
  if variant == "tiny":
    config.task_options.update(train=20, valid=5, test=10, cached=False)
    return _shared.tiny(config)
  return config
