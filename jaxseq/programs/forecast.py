"""Long-horizon forecasting of a multivariate series, with any mixer."""

import dataclasses
from typing import Literal

from jaxseq import _validate
from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.tasks import base
from jaxseq.tasks import forecast_figures
from jaxseq.tasks import forecasting
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


def arm_config(config: Config, name: str) -> forecasting.ArmConfig:
  """Returns the whole configuration of an arm."""
  return forecasting.TASK.arm_config(config, name)


def make_arms(
  config: Config, series: dict[int, forecasting.Spans]
) -> dict[str, supervised_arms.Arm]:
  """Builds every arm for every horizon.

  Raises:
    ValueError: if an option is wrong.
  """
  return {
    f"{name}-{horizon}": arm
    for horizon, spans in series.items()
    for name, arm in forecasting.TASK.arms(config, spans).items()
  }


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""
  if predict_mode.predicts(program):
    return
  with program.setup() as config:
    splits = {
      horizon: config.load(input_length=config.input_length, horizon=horizon)
      for horizon in config.horizons
    }
    series = {h: forecasting.spans(each) for h, each in splits.items()}
    baselines = {
      horizon: forecasting.baselines(spans, config.period)
      for horizon, spans in series.items()
    }
    arms_by_name = make_arms(config, series)
    directory = program.open_directory(config)
  longest = max(config.horizons)
  results = program.compare(
    config,
    arms_by_name,
    directory,
    title=f"{config.data}: errors on the test span",
    subject=f"{config.data}, horizon {longest}",
    columns=forecasting.TASK.columns,
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
      program,
      config,
      directory,
      "forecasting",
      arms_by_name,
      {f"{name}-{h}": x for h, x in splits.items() for name in config.arms},
    ),
  )
  if program.mode == "train":
    forecast_figures.draw_forecasts(
      config,
      directory,
      {name: arm_config(config, name) for name in config.arms},
      arms_by_name,
      series[longest],
      splits[longest].info,
    )
    forecast_figures.draw_horizons(config, directory, results, baselines)
