r"""Long-horizon forecasting of a multivariate series, with any mixer.

    python -m experiments.forecast --config=configs/forecast/hourly.py \
      --workdir=DIR
    python -m experiments.forecast --config=... --workdir=DIR --mode=evaluate
    python -m experiments.forecast --workdir=DIR --mode=predict \
      --arm=NAME-HORIZON --data=new.csv --output=predictions.csv

The first command trains every arm of the config (one mixer each) for every
horizon, all seeds as one program, and resumes where an earlier run stopped. It
ends with a table that also holds two forecasts without any training, and with
`DIR/learning_curve.png` (the longest horizon), `DIR/horizons.png`,
`DIR/forecasts.png`, `DIR/results.json` and the trained models,
`DIR/ARM-HORIZON/model.safetensors`. The second command evaluates the newest
checkpoints, the third forecasts what follows the series of a file. Errors are
those of the standardised series over all windows of its test span.
"""

import dataclasses
from typing import Literal

from jaxseq import _validate
from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.tasks import base
from jaxseq.tasks import forecast_figures
from jaxseq.tasks import forecasting
from jaxseq.training import app
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import supervised_arms


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of networks on one series.

  Attributes:
    input_length: times of an input.
    horizons: times to forecast; every arm is trained for each of them.
    period: steps of a season, for the seasonal naive forecast.
    channels: see `forecasting.ArmConfig`; arms may differ in it.
    normalize: see `forecasting.ArmConfig`; arms may differ in it.
    affine: see `forecasting.ArmConfig`; arms may differ in it.
  """

  _: dataclasses.KW_ONLY
  input_length: int = 96
  horizons: tuple[int, ...] = (96, 192, 336, 720)
  period: int = 24
  channels: Literal["independent", "mixed"] = "independent"
  normalize: bool = True
  affine: bool = False

  def __post_init__(self):
    super().__post_init__()
    _validate.fields(self, positive=("input_length", "period"))
    if not self.horizons or min(self.horizons) < 1:
      raise _validate.error(
        "horizons", self.horizons, "at least one number, all of them 1 or more"
      )
    if len(set(self.horizons)) < len(self.horizons):
      raise _validate.error("horizons", self.horizons, "no repetition")


_PROGRAM = experiment.Experiment("forecast", Config, modes=predict_mode.MODES)
predict_mode.define_flags()


def arm_config(config: Config, name: str) -> forecasting.ArmConfig:
  """Returns the whole configuration of an arm."""
  return base.arm_config(config, name, forecasting.ArmConfig)


def make_arms(
  config: Config, series: dict[int, forecasting.Spans]
) -> dict[str, supervised_arms.Arm]:
  """Builds every arm for every horizon.

  Raises:
    ValueError: if an option is wrong.
  """
  made = {}
  for horizon, spans in series.items():
    for name in config.arms:
      arm = arm_config(config, name)
      problem = forecasting.Problem(arm, spans)
      key = f"{name}-{horizon}"
      made[key] = base.make_arm(
        config, arm, problem, "mse", "windows", better="lower"
      )
  return made


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  if predict_mode.predicts(_PROGRAM):
    return
  with _PROGRAM.setup() as config:
    splits = {
      horizon: config.load(input_length=config.input_length, horizon=horizon)
      for horizon in config.horizons
    }
    series = {h: forecasting.spans(each) for h, each in splits.items()}
    baselines = {
      horizon: forecasting.baselines(spans, config.period)
      for horizon, spans in series.items()
    }
    made = make_arms(config, series)
    directory = _PROGRAM.open_directory(config)
  longest = max(config.horizons)
  results = _PROGRAM.compare(
    config,
    made,
    directory,
    title=f"{config.data}: errors on the test span",
    subject=f"{config.data}, horizon {longest}",
    columns={"mse": "MSE", "mae": "MAE", "valid_mse": "validation MSE"},
    baselines={
      f"{name}-{horizon}": metrics
      for horizon, by_name in baselines.items()
      for name, metrics in by_name.items()
    },
    drawn=[f"{name}-{longest}" for name in config.arms],
    levels={
      f"{name}-{longest}": metrics["mse"]
      for name, metrics in forecasting.baselines(
        series[longest], config.period, "valid"
      ).items()
    },
    each=run_models.writer(
      _PROGRAM,
      config,
      directory,
      "forecasting",
      made,
      {f"{name}-{h}": x for h, x in splits.items() for name in config.arms},
    ),
  )
  if _PROGRAM.mode == "train":
    forecast_figures.draw_forecasts(
      config,
      directory,
      {name: arm_config(config, name) for name in config.arms},
      made,
      series[longest],
      splits[longest].info,
    )
    forecast_figures.draw_horizons(config, directory, results, baselines)


if __name__ == "__main__":
  app.run_main(main)
