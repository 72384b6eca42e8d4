r"""Series of your own in a CSV or Parquet table: which class, or what numbers?

    python -m experiments.classify --config=configs/classify/table.py \
      --workdir=runs/walks --config.data_options.path=walks.csv

The table has a row for each element in time: the column `id` says of which
series, `label` of which class the series is, and all other columns are
channels. Other names, a column of time stamps, the columns to use, and the
division for training and testing are further options (docs/own_data.md):

    --config.data_options.id=walk --config.data_options.label=activity \
    --config.data_options.time=seconds --config.data_options.group=person

Variants, as in `--config=configs/classify/table.py:wide`: `wide`, a row for
each series; `steps`, numbers to predict at every element, in the column that
`label` names; `tiny` and `wide_tiny`, which learn nothing, and show in seconds
whether the table can be used.
"""

import ml_collections

from configs import supervised
from configs.classify import _shared
from jaxseq.programs import own_data

VARIANTS = ("long", "wide", "steps", "tiny", "wide_tiny")


def get_config(variant: str = "long") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "table")
  config.data_options = own_data.series(id="id", label="label")
  config.update(num_updates=2000, batch_size=16)
  config.optimizer.learning_rate = 2e-3
  if variant.startswith("wide"):
    config.data_options.layout = "wide"
    config.data_options.id = ml_collections.config_dict.placeholder(str)
  if variant == "steps":
    config.data_options.target = "step"
    config.network.pooling = "none"
  return supervised.tiny(config) if variant.endswith("tiny") else config
