r"""The long-horizon benchmark: ETTh1 or another table of the same form.

    python -m experiments.forecast --workdir=runs/etth1 \
      --config=configs/forecast/ett.py \
      --config.data_options.path=/data/ETTh1.csv

The csv file is not part of this project (zhouhaoyi/ETDataset on GitHub). ETT
files are split in months, others by shares of 70, 10 and 20 %, as in the
Time-Series-Library. Aaren against the Transformer it replaces, in the setting
of arXiv:2405.13956: input length 96, four horizons, normalised input. It has
not been run to its end by us, so no result is given.

    --config=configs/forecast/ett.py:tiny

learns nothing, and shows in seconds whether the file can be used.
"""

import ml_collections

from jaxseq import _validate

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 5
  config.num_updates = 2500
  config.updates_per_chunk = 50
  config.chunks_per_evaluation = 5
  config.batch_size = 32
  config.data = "ett"
  config.data_options = {"path": "data/ETTh1.csv"}
  config.input_length = 96
  config.horizons = (96, 192, 336, 720)
  config.period = 24
  config.channels = "mixed"
  config.network = {
    "stack": {
      "d_model": 512,
      "num_layers": 2,
      "norm": "layer",
      "prenorm": False,
      "activation": "none",
      "feedforward": "gelu",
      "feedforward_width": 2048,
      "dropout": 0.1,
    },
    "pooling": "last",
  }
  config.optimizer = {"learning_rate": 1e-4}
  heads = {"mixer_options": {"heads": 8}}
  config.arms = {
    "aaren": {"network": {"stack": {"mixer": "aaren", **heads}}},
    "attention": {"network": {"stack": {"mixer": "attention", **heads}}},
  }
  if variant == "tiny":
    config.num_seeds = 1
    config.num_updates = 4
    config.updates_per_chunk = 2
    config.horizons = (8,)
    config.input_length = 24
    config.network.stack.update(d_model=16, num_layers=1, feedforward_width=16)
  return config
