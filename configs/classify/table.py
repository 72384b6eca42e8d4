r"""Classification or regression of your own series in a CSV or Parquet table.

    python -m experiments.classify --config=configs/classify/table.py \
      --workdir=runs/walks --config.data_options.path=walks.csv

The table has a row for each time step: the column `id` names its series,
`label` the class of the series, and all other columns are channels. Other
names, a column of time stamps, the columns to use, and the split for training
and testing are further options (docs/own_data.md):

    --config.data_options.id=walk --config.data_options.label=activity \
    --config.data_options.time=seconds --config.data_options.group=person

Variants, as in `--config=configs/classify/table.py:wide`: `wide`, a row for
each series; `steps`, numbers to predict at every element, in the column that
`label` names; `tiny` and `wide_tiny`, which only check in seconds whether the
table can be used.
"""

from configs import supervised
from configs import variants
from configs.classify import _shared
from jaxseq.programs import own_data
from jaxseq.training import configuration

LONG = _shared.own(
  "table", **own_data.of_loader("table", id="id", label="label")
)
WIDE = configuration.updated(LONG, data_options={"layout": "wide", "id": None})
get_config = variants.Variants(
  long=LONG,
  wide=WIDE,
  steps=configuration.updated(
    LONG, data_options={"target": "step"}, network={"pooling": "none"}
  ),
  tiny=supervised.tiny(LONG),
  wide_tiny=supervised.tiny(WIDE),
)
