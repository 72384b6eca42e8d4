"""Baselines without training: class means, and nearest exemplars."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.continual import exemplars
from experiments.continual import task_streams
from experiments.continual import transfer


def class_means(stream: task_streams.Stream) -> tuple[np.ndarray, int]:
  """Returns accuracies and bytes of the nearest class mean of inputs.

  Returns:
    (2, tasks, tasks) accuracies: among all classes seen, and among those of the
    example's task; and the bytes of the means and counts.
  """
  x, queries = _flat(stream.train.inputs), _flat(stream.test.inputs)
  hot = np.eye(stream.classes, dtype=np.float32)[stream.train.targets]
  counts = hot.sum(axis=0)
  means = hot.T @ x / counts[:, None]
  distance = ((queries[:, None] - means) ** 2).sum(axis=-1)
  scores = np.broadcast_to(-distance, (stream.tasks, *distance.shape))
  return _table(stream, scores), exemplars.num_bytes((means, counts))


def nearest(
  stream: task_streams.Stream, budget: int, seed: int = 0
) -> tuple[np.ndarray, int]:
  """Classifies by the nearest exemplar; returns accuracies and bytes.

  The exemplars are a reservoir, in 256 levels, that fills the budget.
  """
  low, high = float(stream.train.inputs.min()), float(stream.train.inputs.max())
  stored = exemplars.encode(stream.train.inputs, low, high)
  one = exemplars.empty(1, stored[:1], stream.classes)
  each = exemplars.num_bytes(one) - one.seen.nbytes
  size = exemplars.capacity(budget, one.seen.nbytes, each)
  size = min(size, len(stored))
  memory = exemplars.empty(size, stored[:1], stream.classes)
  queries, rows = _flat(stream.test.inputs), []
  for task, bounds in enumerate(zip(stream.offsets, stream.offsets[1:])):
    key = jax.random.fold_in(jax.random.key(seed), task)
    part = slice(*bounds)
    targets = jnp.asarray(stream.train.targets[part])
    memory = exemplars.offer(memory, stored[part], targets, key)
    filled = np.asarray(memory.filled)
    x = _flat(exemplars.decode(memory.inputs, low, high))[filled]
    labels = np.asarray(memory.targets)[filled]
    squares = (x**2).sum(axis=1) - 2 * queries @ x.T
    scores = np.full((len(queries), stream.classes), -np.inf)
    for label in np.unique(labels):
      scores[:, label] = -squares[:, labels == label].min(axis=1)
    rows.append(scores)
  return _table(stream, np.stack(rows)), exemplars.num_bytes(memory)


def levels(
  stream: task_streams.Stream, budget: int
) -> dict[str, dict[str, float]]:
  """Returns the results of both baselines, by label, in the format of arms."""
  found = {
    "class means of inputs": class_means(stream),
    "nearest exemplar": nearest(stream, budget),
  }
  return {
    label: transfer.results(*tables) | {"bytes": size}
    for label, (tables, size) in found.items()
  }


def _flat(inputs):
  """Flattens inputs to vectors."""
  return np.asarray(inputs).reshape(len(inputs), -1)


def _table(stream, scores):
  """Returns accuracies by both masks from scores (tasks, n, classes)."""
  number = stream.test.targets // stream.per_task
  task_of_class = np.arange(stream.classes) // stream.per_task
  tables = np.zeros((2, stream.tasks, stream.tasks))
  for task, row in enumerate(scores):
    for mask, allowed in enumerate(
      (task_of_class <= task, task_of_class == number[:, None])
    ):
      chosen = np.where(allowed, row, -np.inf).argmax(axis=1)
      right = chosen == stream.test.targets
      tables[mask, task] = [
        right[number == i].mean() for i in range(stream.tasks)
      ]
  return tables
