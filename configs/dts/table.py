r"""Codes of your own series in a CSV or Parquet table.

    python -m experiments.dts --config=configs/dts/table.py \
      --workdir=runs/codes --config.data_options.path=walks.csv

The table has a row for each time step, with the series in column `id`; all
other columns are channels. The series may be of different lengths. With

    --config.data_options.label=label --config.downstream="('classify',)"

"class linear" is the accuracy of a linear probe of the class from the code.
Column names and the split for training and testing are further options
(docs/own_data.md).

Variants: `wide`, a row for each series; `tiny` and `wide_tiny`, which only
check in seconds whether the table can be used.
"""

import dataclasses

from configs import variants
from configs.dts import _shared
from configs.dts import ragged
from jaxseq.programs import own_data
from jaxseq.training import configuration

LONG = dataclasses.replace(
  ragged.VOWELS,
  data="table",
  data_options=own_data.of_loader("table", id="id"),
  downstream=(),
  batch_size=16,
  arms=_shared.arms("vae", "beta_tcvae_4", "dts_light"),
)
WIDE = configuration.updated(LONG, data_options={"layout": "wide", "id": None})
SMALL = _shared.arms("dts_light")
get_config = variants.Variants(
  long=LONG,
  wide=WIDE,
  tiny=_shared.tiny(LONG, arms=SMALL),
  wide_tiny=_shared.tiny(WIDE, arms=SMALL),
)
