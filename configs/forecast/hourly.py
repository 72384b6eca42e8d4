r"""Two years of hourly weather and traffic: 4 channels, 17,520 hours.

    python -m experiments.forecast --config=configs/forecast/hourly.py \
      --workdir=runs/forecast_hourly

The series is inside the package autots (`pip install autots`). Training lasts
as long at each of the four horizons of the long-horizon benchmark.

    --config=configs/forecast/hourly.py:seasonal

forecasts a made series with daily and weekly seasons, at one horizon, and needs
no package: the weekly season lies beyond the input, and noise keeps the mean
squared error above 0.05. `:tiny` learns nothing of the same series, and shows
in seconds whether everything works.
"""

import ml_collections

from jaxseq import _validate

VARIANTS = ("full", "seasonal", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.num_updates = 2000
  config.updates_per_chunk = 50
  config.chunks_per_evaluation = 5
  config.batch_size = 32
  config.data = "autots_hourly" if variant == "full" else "seasonal"
  config.data_options = {}
  config.input_length = 96
  config.horizons = (96, 192, 336, 720) if variant == "full" else (96,)
  config.period = 24
  config.channels = "independent"
  config.network = {
    "stack": {"d_model": 64, "num_layers": 2, "norm": "layer", "dropout": 0.1},
    "pooling": "last",
  }
  config.optimizer = {
    "learning_rate": 1e-3,
    "warmup_steps": 50,
    "weight_decay": 0.01,
  }
  transformer = {"activation": "none", "feedforward": "gelu"}
  config.arms = {
    "aaren": {"network": {"stack": {"mixer": "aaren", **transformer}}},
    "attention": {"network": {"stack": {"mixer": "attention", **transformer}}},
    "s5": {"network": {"stack": {"mixer": "s5"}}},
  }
  if variant == "tiny":
    config.num_updates = 4
    config.updates_per_chunk = 2
    config.chunks_per_evaluation = 1
    config.batch_size = 4
    config.data_options = {"times": 300, "channels": 2}
    config.input_length = 24
    config.horizons = (4, 8)
    config.network.stack.update(d_model=8, num_layers=1)
    config.optimizer.update(warmup_steps=0)
    config.arms = {"gru": {"network": {"stack": {"mixer": "gru"}}}}
  return config
