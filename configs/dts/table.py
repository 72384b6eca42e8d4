r"""Codes of series of your own in a CSV or Parquet table.

    python -m experiments.dts --config=configs/dts/table.py \
      --workdir=runs/codes --config.data_options.path=walks.csv

The table has a row for each element in time, whose column `id` says of which
series; all other columns are channels. The series may be of different lengths.
With

    --config.data_options.label=label --config.downstream="('classify',)"

"class linear" is how often a probe of the code tells the class. Names of
columns and the division for training and testing are further options
(docs/own_data.md).

Variants: `wide`, a row for each series; `tiny` and `wide_tiny`, which learn
nothing, and show in seconds whether the table can be used.
"""

import ml_collections

from configs.dts import _shared
from configs.dts import ragged
from jaxseq import _validate
from jaxseq.programs import own_data

VARIANTS = ("long", "wide", "tiny", "wide_tiny")


def get_config(variant: str = "long") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ragged.get_config()
  config.data = "table"
  config.downstream = ()
  config.batch_size = 16
  del config.arms.dts_light_s5
  if variant.endswith("tiny"):
    arms = config.arms
    config = _shared.tiny(config)
    config.arms = {"dts_light": arms.dts_light}
  config.data_options = own_data.series(id="id")
  if variant.startswith("wide"):
    config.data_options.layout = "wide"
    config.data_options.id = ml_collections.config_dict.placeholder(str)
  return config
