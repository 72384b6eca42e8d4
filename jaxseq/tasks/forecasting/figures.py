"""Pictures of forecasts, and of their errors over the horizons."""

from collections.abc import Mapping
from itertools import cycle
import pathlib
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import data
from jaxseq.tasks.forecasting import task as forecasting
from jaxseq.training import figures
from jaxseq.training.comparison import report
from jaxseq.training.comparison import run
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes

# Largest number of panels of a picture.
MOST = 64


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


class Shown(NamedTuple):
  """The windows in forecasts.png: one channel of some series each.

  Attributes:
    rows: (n,) numbers of the windows in the test part.
    channels: (n,) the channel of each.
    titles: of each.
    count: number of all series and channels.
  """

  rows: np.ndarray
  channels: np.ndarray
  titles: list[str]
  count: int


def choose(splits: data.Splits, most: int) -> Shown:
  """Chooses the windows to draw: the middle one of each series.

  Args:
    splits: the windows.
    most: largest number of panels; from more series and channels an evenly
      spaced selection is drawn.
  """
  test, info = splits.test, splits.info
  width = test.inputs.shape[-1]
  channels = info.channels or [f"channel {i}" for i in range(width)]
  numbers, names = test.extras.series, [""]
  if numbers is None:
    numbers = np.ones(len(test.inputs), int)
  else:
    names = list(info.preparation.names)
  middles = [
    np.flatnonzero(numbers == number)[np.sum(numbers == number) // 2]
    for number in np.unique(numbers)
  ]
  titles = [
    ", ".join(filter(None, (name, "" if name and width == 1 else channel)))
    for name in names
    for channel in channels
  ]
  count = len(titles)
  drawn = np.linspace(0, count - 1, min(most, count)).astype(int)
  rows = np.array(middles)[drawn // width]
  return Shown(rows, drawn % width, [titles[i] for i in drawn], count)


def draw_forecasts(
  config: Any, directory: pathlib.Path, work: works.Work, horizon: int
) -> None:
  """Draws forecasts.png: the first seeds, from the middle of the test span.

  Each panel shows the measured input and truth of one series and channel, in
  the units of the data, with the forecasts of all arms, their 80 % intervals
  and the seasonal naive forecast.

  Args:
    config: the comparison, with the fields `shown` and `period`.
    directory: of the run.
    work: the arms of one horizon, by name, and their splits.
    horizon: times to forecast.
  """
  splits, shown = work.splits, choose(work.splits, config.shown)
  part = data.take(splits.test, shown.rows)
  length = part.inputs.shape[1]
  season = length - config.period + np.arange(horizon) % config.period
  known = {
    "measured": np.concatenate([part.inputs, part.targets], axis=1),
    "seasonal naive": part.inputs[:, season],
  }
  bands = {}
  for name, arm in work.arms.items():
    _, state = run.restore(config, directory, f"{name}-{horizon}", arm)
    network = arm.problem.network
    variables = jax.tree.map(
      lambda leaf: leaf[0], jax.device_get(state.variables)
    )
    parts = forecasting.TASK.outputs
    variables = parts.calibrate(network, variables, splits)
    compute = jax.jit(forecasting.compute, static_argnums=0)
    found = compute(network, variables, parts.arguments(network, part))
    known[name] = np.asarray(found["forecast"])
    if "lower_80" in found:
      bands[name] = [np.asarray(found[f"{x}_80"]) for x in ("lower", "upper")]
  # All processes restore checkpoints together; one draws.
  if not processes.is_first():
    return

  def lines(values):
    values = _restored(splits.info, values, part)
    return values[np.arange(len(values)), :, shown.channels]

  picture = _draw(
    directory / "forecasts.png",
    shown,
    # The last input is at 0, and the first forecast at 1.
    part.extras.times,
    {name: lines(values) for name, values in known.items()},
    {name: [lines(x) for x in ends] for name, ends in bands.items()},
  )
  more = ""
  if len(shown.rows) < shown.count:
    draws = min(shown.count, MOST)
    more = f", {len(shown.rows)} of {shown.count}; --config.shown={draws}"
  print(f"Forecasts: {picture or 'not drawn'}{more}")


def _restored(info, values, part):
  """Converts values to the units of the data."""
  if isinstance(info.preparation, data.sources.WindowSource):
    return info.preparation.restore(values, part)
  shift = 0.0 if info.mean is None else np.asarray(info.mean)
  scale = 1.0 if info.deviation is None else np.asarray(info.deviation)
  return values * scale + shift


def _draw(path, shown, seconds, lines, bands):
  """Draws a panel for each series and channel; returns the path."""
  columns = min(2, len(shown.titles))
  margin = max(0.0, 5.2 - 4.6 * columns), 0.9
  grid = figures.panels(path, shown.titles, columns, (4.6, 2.4), margin)
  if grid is None:
    return None
  # Slow to import; needed only for drawing.
  from matplotlib import dates

  total, horizon = lines["measured"].shape[1], lines["seasonal naive"].shape[1]
  looks = {"measured": ("#000000", "-"), "seasonal naive": (figures.GRAY, ":")}
  arms = [name for name in lines if name not in looks]
  looks |= {x: (color, "-") for x, color in zip(arms, cycle(figures.COLORS))}
  for row, axes in enumerate(grid):
    at = np.arange(total) - (total - horizon) + 1
    if seconds is not None:
      at = np.round(seconds[row] * 1e6).astype("datetime64[us]")
      locator = dates.AutoDateLocator(maxticks=6)
      axes.xaxis.set_major_locator(locator)
      axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    for name, values in lines.items():
      color, style = looks[name]
      place = at[total - values.shape[1] :]
      # A single point would be an invisible line.
      look = {"lw": 1.5, "marker": None if len(place) > 1 else "o", "ms": 4}
      axes.plot(place, values[row], color=color, ls=style, label=name, **look)
      if name in bands:
        low, high = (end[row] for end in bands[name])
        axes.fill_between(place, low, high, color=color, alpha=0.18, lw=0)
    axes.margins(x=0.0)
    figures.lines(axes, "y")
  figure = grid[0].figure
  below = [] if seconds is not None else ["steps after the end of the input"]
  below += ["shaded: intervals of 80 %"] if bands else []
  below += [f"{len(grid)} of {shown.count} series and channels"]
  figure.supxlabel("; ".join(below), fontsize=8, color=figures.GRAY)
  figure.legend(
    *grid[0].get_legend_handles_labels(),
    loc="outside upper center",
    ncols=min(len(lines), 6),
    frameon=False,
    fontsize=9,
  )
  return figures.save(figure, path)
