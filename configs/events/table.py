r"""Events of your own in a CSV or Parquet table: when is the next, and which?

    python -m experiments.events --config=configs/events/table.py \
      --workdir=runs/shop --config.data_options.path=shop.csv

A row is an event: the column `time` is its date or number, `stream` names what
it belongs to, such as a customer, and `mark` is its kind. Other names, when the
observation begins and ends, events at the same time, and windows of a single
long stream are further options (docs/own_data.md):

    --config.data_options.stream=user --config.data_options.unit=day \
    --config.data_options.window=7 --config.data_options.ties=spread

Variants: `one_stream`, without the column `stream`; `tiny`, which learns
nothing, and shows in seconds whether the table can be used.
"""

import ml_collections

from configs import supervised
from configs.events import hawkes
from jaxseq.programs import own_data

VARIANTS = ("full", "one_stream", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  supervised.base(variant, VARIANTS)
  config = hawkes.get_config("hawkes")
  config.update(data="event_table", batch_size=16)
  config.data_options = own_data.events(
    time="time", stream="stream", mark="mark"
  )
  if variant == "one_stream":
    config.data_options.stream = ml_collections.config_dict.placeholder(str)
  return supervised.tiny(config, components=2) if variant == "tiny" else config
