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

from configs import blocks
from configs import supervised

VARIANTS = ("full", "seasonal", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  data, horizons = "seasonal", (96,)
  if variant == "full":
    data, horizons = "autots_hourly", (96, 192, 336, 720)
  config = supervised.base(variant, VARIANTS, data=data, data_options={})
  config.update(num_updates=2000, updates_per_chunk=50, batch_size=32)
  config.chunks_per_evaluation = 5
  config.update(input_length=96, horizons=horizons, period=24)
  config.channels = "independent"
  config.network = {
    "stack": {"d_model": 64, "num_layers": 2, "norm": "layer", "dropout": 0.1},
    "pooling": "last",
  }
  config.optimizer = supervised.adamw(1e-3, 0.01, warmup_steps=50)
  transformers = blocks.bare("aaren", "attention", **blocks.TRANSFORMER)
  config.arms = transformers | blocks.bare("s5")
  if variant == "tiny":
    config.data_options = {"times": 300, "channels": 2}
    supervised.tiny(config, input_length=24, horizons=(4, 8))
  return config
