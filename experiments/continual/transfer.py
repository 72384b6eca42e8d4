"""Metrics of continual learning, and their plot.

`R[i, j]` is the accuracy on task j after learning task i. There are two such
tables: in "class" predictions are among all classes seen, in "task" among the
classes of the example's task, which is given.
"""

from collections.abc import Mapping
import os
import pathlib

import numpy as np

from jaxseq import validate
from jaxseq.training import figures


def summary(
  accuracies: np.ndarray,
  baseline: np.ndarray | None = None,
  sizes: np.ndarray | None = None,
) -> dict[str, float]:
  """Returns metrics of learning and forgetting from a table of accuracies.

  Args:
    accuracies: (tasks, tasks), R; above the diagonal only `forward_transfer`
      reads it.
    baseline: (tasks,) accuracies of an untrained network.
    sizes: (tasks,) numbers of test examples, the weights of row means in `last`
      and `incremental`; equal weights if None.

  Returns:
    `last`: mean of the last row. `incremental`: mean over rows of the means of
    the tasks seen. `learning`: mean of the diagonal. `backward_transfer`: mean
    over all tasks but the last of R at the end minus R after learning the task.
    `forgetting`: mean over the same tasks of a task's best R before the last
    row, minus the last; it may be negative. With a baseline `forward_transfer`:
    mean of R just before a task is learned, minus the baseline.
  """
  table = np.asarray(accuracies, float)
  count, _ = validate.shape("accuracies", table, ("tasks", len(table)))
  weight = np.ones(count) if sizes is None else np.asarray(sizes, float)
  after = [
    np.average(table[i, : i + 1], weights=weight[: i + 1]) for i in range(count)
  ]
  diagonal, last = np.diag(table), table[-1]
  old = range(count - 1)
  best = np.array([table[j : count - 1, j].max() for j in old])
  # With one task there is nothing to forget.
  mean = (lambda x: float(np.mean(x))) if count > 1 else (lambda x: 0.0)
  out = {
    "last": float(after[-1]),
    "incremental": float(np.mean(after)),
    "learning": float(diagonal.mean()),
    "backward_transfer": mean(last[:-1] - diagonal[:-1]),
    "forgetting": mean(best - last[:-1]),
  }
  if baseline is not None:
    before = table[np.arange(count - 1), np.arange(1, count)]
    out["forward_transfer"] = mean(before - np.asarray(baseline)[1:])
  return out


def results(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
  """Returns the results of an arm from its tables "class" and "task".

  They are those of `summary`, with "last" renamed to "accuracy"; those of the
  second table have the prefix "task_".
  """
  out = {}
  for front, table in (("", one), ("task_", other)):
    for name, value in summary(table).items():
      out[front + {"last": "accuracy"}.get(name, name)] = value
  return out


def draw(
  path: str | os.PathLike, tables: Mapping[str, np.ndarray]
) -> pathlib.Path | None:
  """Draws tables of accuracies by name, a panel each, as a PNG.

  Args:
    path: path of the file.
    tables: (tasks, tasks) accuracies, drawn up to the diagonal.

  Returns:
    The path; None, with a warning, if matplotlib is not installed.
  """
  axes = figures.panels(path, list(tables), 4, (2.4, 2.5))
  if axes is None:
    return None
  for panel, table in zip(axes, tables.values()):
    table = np.asarray(table)
    later = np.triu(np.ones(table.shape, bool), 1)
    panel.imshow(np.ma.array(table, mask=later), cmap="viridis", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(table):
      if column <= row:
        panel.text(
          column,
          row,
          f"{value:.2f}".removeprefix("0"),
          ha="center",
          va="center",
          fontsize=8,
          color="black" if value > 0.6 else "white",
        )
    ticks = range(len(table))
    panel.set_xticks(ticks, [str(i + 1) for i in ticks])
    panel.set_yticks(ticks, [str(i + 1) for i in ticks])
    panel.tick_params(length=0, labelsize=8)
    panel.spines[:].set_visible(False)
    panel.set_xlabel("accuracy on task", fontsize=8)
    panel.set_ylabel("after task", fontsize=8)
  return figures.save(axes[0].figure, path)
