r"""Series of your own in an .npz archive, or in .ts files of sktime and aeon.

    python -m experiments.classify --config=configs/classify/arrays.py \
      --workdir=runs/walks --config.data_options.path=walks.npz

The archive holds X (n, time, channels), y (n,) and perhaps lengths (n,), or
these with _train and _test behind their names (docs/own_data.md).

Variants: `ts`, a .ts file; `tiny` and `ts_tiny`, which learn nothing, and show
in seconds whether the file can be used.
"""

import ml_collections

from configs import supervised
from configs.classify import _shared
from jaxseq.programs import own_data

VARIANTS = ("npz", "ts", "tiny", "ts_tiny")


def get_config(variant: str = "npz") -> ml_collections.ConfigDict:
  data = "ts" if variant.startswith("ts") else "npz"
  config = _shared.base(variant, VARIANTS, data)
  config.data_options = own_data.arrays(path=f"data.{data}")
  if data == "ts":
    config.data_options.test_path = ml_collections.config_dict.placeholder(str)
  config.update(num_updates=2000, batch_size=16)
  config.optimizer.learning_rate = 2e-3
  return supervised.tiny(config) if variant.endswith("tiny") else config
