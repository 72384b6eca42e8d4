r"""Forecasts of your own long series in a CSV or Parquet table.

    python -m experiments.forecast --config=configs/forecast/table.py \
      --workdir=runs/load --config.data_options.path=load.csv \
      --config.data_options.time=date

A row is a time step, `time` the column of its date or number (leave it out if
there is no such column), and all other columns are channels. The first 70 % are
for training, 10 % for validation and the last 20 % for testing; other shares,
start times of the parts, and the handling of missing values and rows are
further options (docs/own_data.md). 24 time steps are forecast, as differences
to the value one season earlier. The season follows from the steps of the rows,
and the input is four seasons; both can be set:

    --config.input_length=96 --config.horizons="(24, 48)" --config.period=7

`--config=configs/forecast/table.py:tiny` only checks in seconds whether the
table can be used.
"""

from configs import supervised
from configs import variants
from configs.forecast import hourly
from jaxseq.programs import own_data
from jaxseq.training import configuration

FULL = configuration.updated(
  hourly.SEASONAL,
  data="forecast_table",
  data_options=own_data.of_loader("forecast_table", missing="refuse"),
  input_length=None,
  period=None,
  from_season=True,
  horizons=(24,),
  early_stopping=None,
  chunks_per_evaluation=1,
)
get_config = variants.Variants(
  full=FULL,
  tiny=supervised.tiny(FULL, num_seeds=1, horizons=(4,), input_length=24),
)
