"""Pictures of forecasts, and of their errors over the horizons."""

from collections.abc import Mapping
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.training import plots
from jaxseq.training.comparison import report
from jaxseq.training.comparison import run
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes

# Channels that are drawn, at most.
_PANELS = 4


def draw_horizons(
  config: Any,
  directory: pathlib.Path,
  results: Mapping[str, Any],
  baselines: Mapping[int, Mapping[str, Mapping[str, float]]],
) -> None:
  """Draws horizons.png: the errors of all arms and baselines.

  With a single horizon there is nothing to draw.

  Args:
    config: the comparison, with the fields `arms`, `data` and `horizons`.
    directory: of the run.
    results: by "ARM-HORIZON".
    baselines: metrics by horizon and name.
  """
  horizons = sorted(config.horizons)
  if len(horizons) < 2 or not processes.is_first():
    return
  curves = {
    name: np.stack([results[f"{name}-{h}"]["mse"] for h in horizons], axis=1)
    for name in config.arms
  }
  for name in baselines[horizons[0]]:
    curves[name] = np.array([baselines[h][name]["mse"] for h in horizons])
  report.draw(
    "Errors over horizons",
    directory / "horizons.png",
    {name: (horizons, values) for name, values in curves.items()},
    xlabel="horizon",
    ylabel="mean squared error",
    title=f"{config.data}: error on the test span",
  )


def draw_forecasts(
  config: Any, directory: pathlib.Path, work: works.Work, horizon: int
) -> None:
  """Draws forecasts.png, by first seeds, from the middle of the test span.

  Each panel has what was measured, input and truth, of one of a few channels,
  in the units of the data.

  Args:
    config: the comparison.
    directory: of the run.
    work: the arms of one horizon, by name, and their splits.
    horizon: times to forecast.
  """
  problem = next(iter(work.arms.values())).problem
  info, test, length = (
    work.splits.info,
    problem.data["test"],
    problem.input_length,
  )
  total = length + horizon
  start = (len(test) - total) // 2
  window = test[start : start + total, : problem.channels]
  # The last input is at 0, and the first forecast at 1.
  times = np.arange(total) - length + 1
  names = info.channels or [f"channel {i}" for i in range(window.shape[1])]
  shift = 0.0 if info.mean is None else np.asarray(info.mean)
  scale = 1.0 if info.deviation is None else np.asarray(info.deviation)
  measured = window * scale + shift
  drawn = np.linspace(0, len(names) - 1, min(_PANELS, len(names))).astype(int)
  panels = {
    names[channel]: {"measured": (times, measured[:, channel])}
    for channel in drawn
  }
  for name, arm in work.arms.items():
    _, state = run.restore(config, directory, f"{name}-{horizon}", arm)
    forecast = jax.jit(arm.problem.network.apply)(
      jax.tree.map(lambda leaf: leaf[0], jax.device_get(state.variables)),
      jnp.asarray(window[:length]),
    )
    forecast = np.asarray(forecast) * scale + shift
    for channel in drawn:
      line = times[length:], forecast[:, channel]
      panels[names[channel]][name] = line
  # All processes restore checkpoints together; one draws.
  if not processes.is_first():
    return
  picture = plots.learning_curves(
    directory / "forecasts.png",
    panels,
    xlabel="steps after the end of the input",
    ylabel="value",
  )
  print(f"Forecasts: {picture or 'not drawn'}")
