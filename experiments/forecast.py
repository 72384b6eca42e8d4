r"""Long-horizon forecasting of a multivariate series, with any mixer.

    python -m experiments.forecast --config=configs/forecast/hourly.py \
      --workdir=DIR
    python -m experiments.forecast --config=... --workdir=DIR --mode=evaluate
    python -m experiments.forecast --workdir=DIR --mode=predict \
      --arm=NAME-HORIZON --data=new.csv --output=predictions.csv

The first command trains every arm of the config (one mixer each) for every
horizon, with all seeds as one program, and resumes where an earlier run
stopped. It ends with a table that also includes two forecasts without training,
and with `DIR/learning_curve.png` (the longest horizon), `DIR/horizons.png`,
`DIR/forecasts.png`, `DIR/results.json` and the trained models,
`DIR/ARM-HORIZON/model.safetensors`. The second command evaluates the newest
checkpoints, the third forecasts the values after the series of a file. Errors
are those of the standardized series over all windows of its test span.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("forecast")


if __name__ == "__main__":
  app.run_main(main)
