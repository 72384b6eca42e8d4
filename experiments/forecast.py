r"""Long-horizon forecasting of a multivariate series, with any mixer.

    python -m experiments.forecast --config=configs/forecast/hourly.py \
      --workdir=DIR
    python -m experiments.forecast --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (one mixer each) for every
horizon, all seeds as one program, and resumes where an earlier run stopped. It
ends with a table that also holds two forecasts without any training, and with
`DIR/learning_curve.png` (the longest horizon), `DIR/horizons.png`,
`DIR/forecasts.png` and `DIR/results.json`. The second command evaluates the
newest checkpoints. Errors are those of the standardised series over all windows
of its test span.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any
from typing import Literal

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxseq import data
from jaxseq.tasks import base
from jaxseq.tasks import forecasting
from jaxseq.training import app
from jaxseq.training import errors
from jaxseq.training import plots
from jaxseq.training.comparison import study
from jaxseq.training.devices import processes
from jaxseq.training.devices import seeds

_CONFIG, _WORKDIR = app.define_flags()
_MESH = app.define_mesh()
_MODE = app.define_mode()


@dataclasses.dataclass(frozen=True)
class Config(study.Supervised):
  """A comparison of networks on one series.

  Attributes:
    data: name of the series in `jaxseq.data`.
    data_options: options of its loader.
    input_length: times of an input.
    horizons: times to forecast; every arm is trained for each of them.
    period: steps of a season, for the seasonal naive forecast.
    channels: see `forecasting.ArmConfig`; arms may differ in it.
    normalize: see `forecasting.ArmConfig`; arms may differ in it.
    affine: see `forecasting.ArmConfig`; arms may differ in it.
    network: fields of `nn.NetworkConfig` that all arms share.
    optimizer: fields of `recipes.Recipe` that all arms share.
    batch_size: windows per update.
  """

  _: dataclasses.KW_ONLY
  data: str
  data_options: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  input_length: int = 96
  horizons: tuple[int, ...] = (96, 192, 336, 720)
  period: int = 24
  channels: Literal["independent", "mixed"] = "independent"
  normalize: bool = True
  affine: bool = False
  network: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  optimizer: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  batch_size: int = 32

  def __post_init__(self):
    super().__post_init__()
    self.check_positive("input_length", "period")
    if not self.horizons or min(self.horizons) < 1:
      raise ValueError(
        f"horizons: got {self.horizons}, expected at least one number, all of "
        "them 1 or more."
      )
    if len(set(self.horizons)) < len(self.horizons):
      raise ValueError(
        f"horizons: got {self.horizons}, expected no repetition."
      )


def arm_config(config: Config, name: str) -> forecasting.ArmConfig:
  """Returns the whole configuration of an arm."""
  return base.arm_config(
    config,
    name,
    forecasting.ArmConfig,
    channels=config.channels,
    normalize=config.normalize,
    affine=config.affine,
  )


def load(config: Config) -> dict[int, forecasting.Spans]:
  """Loads the series, cut for each horizon.

  Raises:
    ValueError: if an option is wrong, or the data are not there.
  """
  return {
    horizon: forecasting.spans(
      data.load(
        config.data,
        input_length=config.input_length,
        horizon=horizon,
        **config.data_options,
      )
    )
    for horizon in config.horizons
  }


def label(name: str, horizon: int) -> str:
  """Returns what an arm at a horizon is called, and its directory."""
  return f"{name}-{horizon}"


def make_arms(
  config: Config, series: Mapping[int, forecasting.Spans]
) -> dict[str, study.Arm]:
  """Builds every arm for every horizon.

  Raises:
    ValueError: if an option is wrong.
  """
  arms = {}
  for horizon, spans in series.items():
    for name in config.arms:
      arm = arm_config(config, name)
      arms[label(name, horizon)] = study.Arm(
        forecasting.make_problem(arm, spans),
        base.make_optimizer(arm, config.num_updates),
        metric="mse",
        examples=arm.batch_size,
        unit="windows",
      )
  return arms


def draw_horizons(
  config: Config,
  directory: pathlib.Path,
  results: Mapping[str, Any],
  baselines: Mapping[int, Mapping[str, Mapping[str, float]]],
) -> pathlib.Path | None:
  """Draws the errors of all arms and baselines over the horizons."""
  horizons = sorted(config.horizons)
  curves = {
    name: np.stack([results[label(name, h)]["mse"] for h in horizons], axis=1)
    for name in config.arms
  }
  for name in baselines[horizons[0]]:
    curves[name] = np.array([baselines[h][name]["mse"] for h in horizons])
  return plots.learning_curve(
    directory / "horizons.png",
    {name: (horizons, values) for name, values in curves.items()},
    xlabel="horizon",
    ylabel="mean squared error",
    title=f"{config.data}: error on the test span",
  )


def draw_forecasts(
  config: Config,
  directory: pathlib.Path,
  arms: Mapping[str, study.Arm],
  spans: forecasting.Spans,
) -> pathlib.Path | None:
  """Draws forecasts of the first seeds from the middle of the test span.

  The channel drawn is the last one, at the longest horizon. Process 0 draws.
  """
  length, total = spans.input_length, spans.input_length + spans.horizon
  start = (len(spans.test) - total) // 2
  window = spans.test[start : start + total]
  times = np.arange(total) - length
  lines = {"measured": (times, window[:, -1])}
  for name in config.arms:
    key = label(name, spans.horizon)
    _, variables = study.variables_of(config, directory, key, arms[key])
    model = forecasting.make_forecaster(arm_config(config, name), spans.horizon)
    forecast = jax.jit(model.apply)(
      jax.tree.map(lambda leaf: leaf[0], jax.device_get(variables)),
      jnp.asarray(window[:length]),
    )
    lines[name] = (times[length:], np.asarray(forecast)[:, -1])
  # All processes restore checkpoints together; one draws.
  if not processes.is_first():
    return None
  return plots.learning_curve(
    directory / "forecasts.png",
    lines,
    xlabel="steps after the end of the input",
    ylabel="standardised value",
    title=f"{config.data}: a forecast from the middle of the test span",
  )


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = study.parse(_CONFIG.value, Config, _MESH.value)
    series = load(config)
    baselines = {
      horizon: forecasting.baselines(spans, config.period)
      for horizon, spans in series.items()
    }
    arms = make_arms(config, series)
    directory = study.open_workdir(
      _WORKDIR.value, config, "forecast", _MODE.value
    )
  longest = max(config.horizons)
  results = study.main(
    config,
    directory,
    arms,
    _MODE.value,
    title=f"{config.data}: errors on the test span",
    columns={
      "mse": "MSE",
      "mae": "MAE",
      "valid_mse": "validation MSE",
    },
    baselines={
      label(name, horizon): metrics
      for horizon, by_name in baselines.items()
      for name, metrics in by_name.items()
    },
    drawn=[label(name, longest) for name in config.arms],
    levels={
      label(name, longest): metrics["mse"]
      for name, metrics in baselines[longest].items()
    },
  )
  if _MODE.value == "train":
    drawn = [draw_forecasts(config, directory, arms, series[longest])]
    if len(config.horizons) > 1 and processes.is_first():
      drawn.append(draw_horizons(config, directory, results, baselines))
    for picture in drawn:
      if picture is not None:
        print(f"Drawn: {picture}")


if __name__ == "__main__":
  app.run_main(main)
