r"""Two years of hourly weather and traffic: 4 channels, 17,520 hours.

    python -m experiments.forecast --config=configs/forecast/hourly.py \
      --workdir=runs/forecast_hourly

The series is included in the package autots (`pip install autots`). Each of the
four horizons of the long-horizon benchmark has the same number of updates.

    --config=configs/forecast/hourly.py:seasonal

forecasts a synthetic series with daily and weekly seasons, at one horizon, and
needs no package: the weekly season is longer than the input, and noise keeps
the mean squared error above 0.05. `:tiny` only checks in seconds on a short one
that everything works.
"""

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.programs import forecast
from jaxseq.training import configuration

TRANSFORMERS = blocks.bare("aaren", "attention", **blocks.TRANSFORMER)
SEASONAL = forecast.Config(
  data="seasonal",
  num_updates=2000,
  chunks_per_evaluation=5,
  input_length=96,
  horizons=(96,),
  period=24,
  network={
    "stack": {"d_model": 64, "num_layers": 2, "norm": "layer", "dropout": 0.1},
    "pooling": "last",
  },
  optimizer=supervised.adamw(1e-3, 0.01, warmup_steps=50),
  arms=TRANSFORMERS | blocks.bare("s5"),
)
get_config = variants.Variants(
  full=configuration.updated(
    SEASONAL, data="autots_hourly", horizons=(96, 192, 336, 720)
  ),
  seasonal=SEASONAL,
  tiny=supervised.tiny(
    SEASONAL,
    data_options={"times": 300, "channels": 2},
    input_length=24,
    horizons=(4, 8),
  ),
)
