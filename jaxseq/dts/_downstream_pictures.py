"""Forecasts and scores of anomalies as PNG files.

Every function returns the path of the file, or None, with a warning, if
matplotlib is not installed.
"""

from collections.abc import Mapping
import os
import pathlib

import numpy as np

from jaxseq.training import figures


def draw_forecasts(
  path: str | os.PathLike,
  windows: np.ndarray,
  forecasts: Mapping[str, np.ndarray],
) -> pathlib.Path | None:
  """Draws windows (n, time, channels) and forecasts of their ends, by label."""
  figure = figures.new(path, 7.0, 0.6 + 1.4 * len(windows))
  if figure is None:
    return None
  panels = figure.subplots(len(windows), 1, sharex=True, squeeze=False)[:, 0]
  time = np.arange(windows.shape[1])
  for i, axes in enumerate(panels):
    axes.plot(time, windows[i, :, 0], color=figures.GRAY, lw=1, label="window")
    for (label, series), color in zip(forecasts.items(), figures.COLORS):
      end = time[-series.shape[1] :]
      axes.plot(end, series[i, :, 0], color=color, label=label)
  look = {"loc": "outside upper left", "fontsize": 8}
  lines, labels = panels[0].get_legend_handles_labels()
  figure.legend(lines, labels, ncols=len(labels), **look)
  panels[-1].set_xlabel("time")
  return figures.save(figure, path)


def draw_anomalies(
  path: str | os.PathLike, scores: np.ndarray, anomalous: np.ndarray
) -> pathlib.Path | None:
  """Draws scores of windows in nats, with those that hold an anomaly marked."""
  figure = figures.new(path, 7.0, 3.0)
  if figure is None:
    return None
  axes = figure.add_subplot()
  index, strange = np.arange(len(scores)), np.asarray(anomalous, bool)
  parts = {"normal": ~strange, "anomalous": strange}
  for (label, rows), color in zip(parts.items(), figures.COLORS):
    axes.plot(index[rows], scores[rows], ".", ms=3, color=color, label=label)
  axes.set_xlabel("test window")
  axes.set_ylabel("-ELBO (nats)")
  axes.legend(fontsize=8)
  return figures.save(figure, path)
