"""Pictures of a disentangling model: curves, heat maps, traversals, as PNG.

Every function returns the path of the file, or None, with a warning, if
matplotlib is not installed. Maps of numbers use cividis, and lines Okabe and
Ito's colors: both are read with every kind of color vision.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import os
import pathlib

import numpy as np

from jaxseq import validate
from jaxseq.dts import _window_grid
from jaxseq.training import figures
from jaxseq.training import plots

_MAP = "cividis"
_TITLES = {
  "mi": "mutual information (nats)",
  "tc": "total correlation (nats)",
  "dwkl": "dimension-wise KL (nats)",
}
# Metrics of disentanglement in the order of tables and bars.
METRICS = {
  "mig": "MIG",
  "posterior_mig": "MIG, of samples",
  "sap": "SAP, continuous",
  "sap_continuous": "SAP, continuous",
  "sap_discrete": "SAP, discrete",
  "dci": "DCI disentanglement",
  "dci_disentanglement": "DCI disentanglement",
  "dci_completeness": "DCI completeness",
  "dci_informativeness": "DCI informativeness",
  "modularity": "modularity",
  "modularity_active": "modularity, active codes",
  "explicitness": "explicitness",
  "irs": "IRS",
  "factor_vae": "FactorVAE score",
  "beta_vae": "beta-VAE score",
  "gaussian_tc": "Gaussian TC (nats) ↓",
  "gaussian_wasserstein": "Wasserstein, relative ↓",
  "pairwise_information": "pairwise MI (nats) ↓",
  "active_codes": "active codes",
  "information_bias": "bias of MI (nats)",
}
# All others lie between 0 and 1.
_UNBOUNDED = tuple(METRICS)[-5:]
# More cells than this and their numbers are too small to read.
_MOST_NUMBERS = 200


def kl_heat_map(
  path: str | os.PathLike,
  steps: Sequence[int],
  kl: np.ndarray,
  *,
  part: str = "",
) -> pathlib.Path | None:
  """Draws the KL (steps, D) of each coordinate over training, in nats."""
  steps, kl = np.asarray(steps, float), np.asarray(kl, float)
  if kl.ndim != 2 or not kl.size or steps.shape != kl.shape[:1]:
    shapes = f"shape {kl.shape} for steps of shape {steps.shape}"
    raise validate.error("kl", shapes, "(steps, codes), a row for each step")
  if (np.diff(steps) <= 0).any():
    raise validate.error("steps", steps, "increasing ones")
  codes = kl.shape[1]
  figure = figures.new(path, 7.0, 1.5 + 0.24 * min(max(codes, 5), 32))
  if figure is None:
    return None
  axes = figure.add_subplot()
  # The axis of steps ends at the first and the last measurement, and each
  # column of the map has the color of the nearest one.
  mesh = axes.pcolormesh(
    _edges(steps), np.arange(codes + 1) - 0.5, kl.T, cmap=_MAP, vmin=0
  )
  axes.invert_yaxis()
  # At most about sixteen labels.
  axes.set_yticks(range(0, codes, -(-codes // 16)))
  axes.set_xlabel("updates")
  axes.set_ylabel("coordinate")
  if part:
    axes.set_title(f"{part} windows", loc="left", fontsize=10)
  plots.format_steps(axes, [steps])
  if len(steps) == 1:
    axes.set_xticks(steps)
  figure.colorbar(mesh, ax=axes, label="KL (nats)", pad=0.02)
  return figures.save(figure, path)


def information_curves(
  path: str | os.PathLike,
  runs: Mapping[str, Mapping[str, np.ndarray]],
  *,
  part: str = "",
) -> pathlib.Path | None:
  """Draws the three parts of the KL over training, as far as runs have them."""
  panels = {}
  for name, title in _TITLES.items():
    for run, values in runs.items():
      if name in values:
        curve = values["steps"], values[name]
        panels.setdefault(title, {})[run] = curve
  if not panels:
    parts_of_runs = {run: sorted(values) for run, values in runs.items()}
    raise validate.error("runs", parts_of_runs, f"one of {', '.join(_TITLES)}")
  ylabel = f"{part} windows" if part else ""
  return plots.learning_curves(path, panels, xlabel="updates", ylabel=ylabel)


def traversal_grid(
  path: str | os.PathLike,
  traversal: np.ndarray,
  *,
  names: Sequence[str] | None = None,
  title: str = "",
  length: int | None = None,
  channels: Sequence[str] | None = None,
) -> pathlib.Path | None:
  """Draws windows (D, S, T, C) decoded while a coordinate moves, a row each."""
  traversal = _window_grid.check("traversal", traversal)
  rows, columns = traversal.shape[:2]
  values = np.linspace(-3.0, 3.0, columns)
  return _window_grid.draw(
    path,
    traversal,
    _window_grid.names("names", names, "z", rows),
    [f"{value:+.3g}" if value else "0" for value in values],
    title=title,
    top_label="value of the coordinate",
    lengths=None if length is None else np.full(rows, length),
    channels=channels,
  )


def swap_grid(
  path: str | os.PathLike,
  swapped: np.ndarray,
  *,
  rows: Sequence[str] | None = None,
  columns: Sequence[str] | None = None,
  lengths: np.ndarray | None = None,
  channels: Sequence[str] | None = None,
) -> pathlib.Path | None:
  """Draws windows (R, S, T, C) decoded from g_y of one and g_d of another.

  Down a column the domain stays and the class changes; along a row the class
  stays. Where rows and columns are the same windows, the diagonal is framed.
  """
  swapped = _window_grid.check("swapped", swapped)
  return _window_grid.draw(
    path,
    swapped,
    _window_grid.names("rows", rows, "", swapped.shape[0]),
    _window_grid.names("columns", columns, "", swapped.shape[1]),
    top_label="$g_d$ of",
    left_label="$g_y$ of",
    diagonal=swapped.shape[0] == swapped.shape[1],
    lengths=lengths,
    channels=channels,
  )


def information_map(
  path: str | os.PathLike,
  information: np.ndarray,
  *,
  factors: Sequence[str] | None = None,
  title: str = "",
  note: str = "",
) -> pathlib.Path | None:
  """Draws what each code says of each factor (D, K); the best is framed.

  These are shares of a factor's entropy. A factor with one bright cell has a
  large gap; a code with one bright cell is modular.
  """
  table = np.asarray(information, float)
  codes, count = validate.shape("information", table, ("codes", "factors"))
  factors = _window_grid.names("factors", factors, "", count)
  figure = figures.new(path, 2.4 + 0.62 * count, 1.3 + 0.3 * max(codes, 3))
  if figure is None:
    return None
  from matplotlib import patches

  axes = figure.add_subplot()
  image = axes.imshow(table, cmap=_MAP, vmin=0, vmax=1, aspect="auto")
  # White on black, which is seen on every color of the map.
  for k, d in enumerate(table.argmax(0)):
    for color, width in (("black", 3.5), ("white", 1.5)):
      place, look = (k - 0.46, d - 0.44), {"ec": color, "lw": width}
      axes.add_patch(patches.Rectangle(place, 0.92, 0.88, fill=False, **look))
  if table.size <= _MOST_NUMBERS:
    look = {"ha": "center", "va": "center", "fontsize": 8}
    for (d, k), value in np.ndenumerate(table):
      color = "black" if value > 0.5 else "white"
      axes.text(k, d, f"{value:.2f}", color=color, **look)
  slanted = max(map(len, factors)) > 6
  look = {"rotation": 30, "ha": "right"} if slanted else {}
  axes.set_xticks(range(count), factors, fontsize=9, **look)
  axes.set_yticks(range(codes), [f"z{d}" for d in range(codes)], fontsize=9)
  axes.tick_params(length=0)
  axes.spines[:].set_visible(False)
  axes.set_ylabel("coordinate")
  figure.suptitle(title, x=0.01, ha="left", fontsize=11)
  figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=figures.GRAY)
  figure.colorbar(image, ax=axes, pad=0.03, label="share of the entropy")
  return figures.save(figure, path)


def metric_bars(
  path: str | os.PathLike,
  runs: Mapping[str, Mapping[str, float | Sequence[float]]],
) -> pathlib.Path | None:
  """Draws metrics of runs, numbers or one for each seed, as bars in panels.

  Less is better where the title has an arrow. Over seeds a bar is the mean, and
  a line goes from the smallest to the largest; what a run lacks stays empty.
  """
  metrics = dict.fromkeys(name for values in runs.values() for name in values)
  if not metrics:
    raise validate.error("runs", runs, "some with metrics")
  titles = [METRICS.get(name, name.replace("_", " ")) for name in metrics]
  columns, height = min(4, len(metrics)), 0.7 + 0.3 * len(runs)
  size, margin = (2.3, height), (1.4, 0.3)
  grid = figures.panels(path, titles, columns, size, margin, sharey=True)
  if grid is None:
    return None
  figure = grid[0].figure
  figure.get_layout_engine().set(h_pad=0.08)
  for axes, name in zip(grid, metrics):
    values = [values.get(name) for values in runs.values()]
    _draw_bars(axes, values, score=name not in _UNBOUNDED)
    figures.rows(axes, list(runs))
  return figures.save(figure, path)


def _draw_bars(axes, values, score) -> None:
  """Draws one bar, with its number, for each run; scores from 0 to 1."""
  values = [np.atleast_1d(np.nan if v is None else v) for v in values]
  for row, seeds in enumerate(values):
    mean = float(np.mean(seeds))
    if not np.isfinite(mean):
      continue
    axes.barh(row, mean, height=0.66, color=figures.COLORS[0], alpha=0.6)
    low, high = np.min(seeds), np.max(seeds)
    if len(seeds) > 1:
      axes.plot([low, high], [row, row], color="black", lw=1.2)
    # Three digits distinguish all bars whose lengths differ visibly.
    axes.annotate(
      f"{mean:.3f}" if score else f"{mean:.3g}",
      xy=(max(high, mean, 0.0), row),
      xytext=(4, 0),
      textcoords="offset points",
      va="center",
      fontsize=8,
    )
  axes.axvline(0, color=figures.GRAY, lw=0.8)
  low, high = axes.get_xlim()
  if score:
    low, high = min(low, 0.0), max(1.0, high)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
  else:
    axes.locator_params(axis="x", nbins=3)
  # Room for the numbers.
  axes.set_xlim(low, high + 0.28 * (high - low))
  axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
  axes.tick_params(axis="x", labelsize=7, labelcolor=figures.GRAY, length=2)


def _edges(centers: np.ndarray) -> np.ndarray:
  """Returns borders of cells between increasing centers, and at both ends."""
  if len(centers) == 1:
    return centers[0] + np.array([-0.5, 0.5])
  middle = (centers[1:] + centers[:-1]) / 2
  return np.concatenate([centers[:1], middle, centers[-1:]])
