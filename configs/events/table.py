r"""Prediction of your own events in a CSV or Parquet table: time and mark.

    python -m experiments.events --config=configs/events/table.py \
      --workdir=runs/shop --config.data_options.path=shop.csv

A row is an event: the column `time` is its date or number, `stream` names its
stream, such as a customer, and `mark` is its kind. Other names, the start and
end of the observation, events at the same time, and windows of a single long
stream are further options (docs/own_data.md):

    --config.data_options.stream=user --config.data_options.unit=day \
    --config.data_options.window=7 --config.data_options.ties=spread

Variants: `one_stream`, without the column `stream`; `lists`, for the files of
EasyTPP and HoTPP, which have a row for each sequence; `tiny`, which only checks
in seconds whether the table can be used.
"""

from configs import supervised
from configs import variants
from configs.events import hawkes
from jaxseq.programs import own_data
from jaxseq.training import configuration

FULL = configuration.updated(
  hawkes.HAWKES,
  data="event_table",
  data_options=own_data.of_loader("event_table", stream="stream", mark="mark"),
  batch_size=16,
  early_stopping=None,
  chunks_per_evaluation=1,
  from_shares=True,
)
get_config = variants.Variants(
  full=FULL,
  one_stream=configuration.updated(FULL, data_options={"stream": None}),
  lists=configuration.updated(
    hawkes.HAWKES,
    data="event_lists",
    data_options=own_data.of_loader("event_lists", path="data.json"),
    batch_size=16,
    early_stopping=None,
    chunks_per_evaluation=1,
    from_shares=True,
  ),
  tiny=supervised.tiny(FULL, components=2),
)
