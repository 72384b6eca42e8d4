"""Long-horizon forecasting of a multivariate series, with any mixer."""

import dataclasses
import functools

from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks import forecasting
from jaxseq.tasks.forecasting import figures as forecast_figures
from jaxseq.tasks.forecasting import forecast_season
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works


@dataclasses.dataclass(frozen=True)
class Config(forecasting.Options, base.DataComparison):
  """A comparison of networks on one series, with `forecasting.Options`.

  Attributes:
    input_length: time steps of an input; None for four seasons, but at least
      the longest horizon.
    horizons: time steps to forecast; every arm is trained for each of them.
    period: steps of a season; None to detect it from the rows: 7 for days, 5
      for working days, 24 for hours, 12 for months, 4 for quarters, otherwise
      from the values of the training part, see `forecast_season`.
    shown: largest number of series and channels in forecasts.png.
  """

  _: dataclasses.KW_ONLY
  input_length: int | None = 96
  horizons: tuple[int, ...] = (96, 192, 336, 720)
  period: int | None = 24
  shown: int = 4

  def __post_init__(self):
    super().__post_init__()
    for name in ("input_length", "period"):
      if getattr(self, name) is not None:
        validate.positive(name, getattr(self, name))
    validate.integer("shown", self.shown, 1, forecast_figures.MOST)
    if not self.horizons or min(self.horizons) < 1:
      raise validate.error(
        "horizons", self.horizons, "at least one number, all of them 1 or more"
      )
    if len(set(self.horizons)) < len(self.horizons):
      raise validate.error("horizons", self.horizons, "no repetition")
    for name in ("input_length", "horizon"):
      if name in self.data_options:
        got, expected = self.data_options[name], "none: the config has its own"
        raise validate.error(f"data_options.{name}", got, expected)


TASK = forecasting.TASK


def _with_season(config: Config) -> Config:
  """Returns the config with the season and input length of the data."""
  if None not in (config.period, config.input_length):
    return config
  horizon = max(config.horizons)
  splits = config.load(input_length=config.input_length or 1, horizon=horizon)
  period = config.period or forecast_season.period_of(splits)
  length = config.input_length
  if length is None:
    length = forecast_season.input_length(splits, period, horizon)
  elif config.period is None:
    period = min(period, length)
  print(f"A season is {period} steps; {length} are read.")
  return dataclasses.replace(config, period=period, input_length=length)


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns every arm for every horizon, with pictures of forecasts."""
  config = _with_season(config)
  by_horizon = {}
  for horizon in config.horizons:
    load = functools.partial(
      Config.load, input_length=config.input_length, horizon=horizon
    )
    by_horizon[horizon] = dataclasses.replace(TASK, load=load).work(config)

  def named(values):
    """Merges the horizons' values by name, with the horizon in the names."""
    return {
      f"{name}-{horizon}": x
      for horizon in config.horizons
      for name, x in values(by_horizon[horizon]).items()
    }

  longest = max(config.horizons)
  arms = named(lambda each: each.arms)
  options = by_horizon[longest].options
  levels = {f"{k}-{longest}": x for k, x in options["levels"].items()}

  def show(directory, results):
    if program.mode != "train":
      return
    forecast_figures.draw_forecasts(
      config, directory, by_horizon[longest], longest
    )
    baselines = {h: x.options["baselines"] for h, x in by_horizon.items()}
    forecast_figures.draw_horizons(config, directory, results, baselines)

  return works.Work(
    arms=arms,
    options={
      **options,
      "subject": f"{config.data}, horizon {longest}",
      "baselines": named(lambda each: each.options["baselines"]),
      "drawn": [f"{name}-{longest}" for name in config.arms],
      "levels": levels,
    },
    kind=TASK.kind,
    splits=named(lambda each: dict.fromkeys(each.arms, each.splits)),
    show=show,
  )
