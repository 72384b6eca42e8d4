"""Data sets as sequences of tasks, each with some of the classes.

If series differ in length, an additional channel marks the elements inside, so
that stored series keep their lengths.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.training import supervised


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
  """Examples sorted by task; task t has classes t * k to (t + 1) * k - 1.

  Attributes:
    train: training examples, sorted by task.
    test: test examples, sorted by task.
    tasks: number of tasks.
    classes: number of classes of all tasks.
    offsets: (tasks + 1,) first training examples of the tasks, and the end of
      the last.
    middle: threshold of the last channel, which is above it inside of the
      series; None if there is no padding.
  """

  train: data.ArrayDataset
  test: data.ArrayDataset
  tasks: int
  classes: int
  offsets: tuple[int, ...]
  middle: float | None = None

  @property
  def per_task(self) -> int:
    """Returns the number of classes of a task."""
    return self.classes // self.tasks

  @property
  def sizes(self) -> tuple[int, ...]:
    """Returns the number of training examples of each task."""
    return tuple(np.diff(self.offsets).tolist())

  def draw(
    self,
    key: jax.Array,
    update: jax.Array,
    per_task: int,
    batch: int,
    so_far: bool = False,
  ) -> jax.Array:
    """Returns the indices of a batch of the current task.

    Examples come in epochs, see `supervised.draw`.

    Args:
      key: random key of the run.
      update: number of updates made.
      per_task: updates of each task.
      batch: batch size.
      so_far: whether to draw from all tasks up to the current one.

    Returns:
      (batch,) int32.
    """
    draws = []
    for task, (begin, end) in enumerate(zip(self.offsets, self.offsets[1:])):
      begin = 0 if so_far else begin
      keys = jax.random.fold_in(key, task)
      draws.append(begin + supervised.draw(keys, update, end - begin, batch))
    return jnp.stack(draws)[update // per_task]

  def window(
    self, train: data.ArrayDataset, task: jax.Array
  ) -> tuple[data.ArrayDataset, jax.Array]:
    """Returns a window of training examples and the mask of those of a task.

    Args:
      train: the training examples, on the device.
      task: () int32.
    """
    offsets = jnp.asarray(self.offsets)
    index = offsets[task] + jnp.arange(max(self.sizes))
    inside = index < offsets[task + 1]
    index = jnp.minimum(index, self.offsets[-1] - 1)
    return jax.tree.map(lambda x: x[index], train), inside


def make(splits: data.Splits, tasks: int) -> Stream:
  """Divides a data set into tasks by class, in the order of the classes.

  Args:
    splits: train and test examples with one class each.
    tasks: number of tasks.

  Raises:
    ValueError: if the data are of another kind, or their classes cannot be
      divided evenly.
  """
  classes, train = splits.info.num_classes, splits.train
  floats = np.issubdtype(train.inputs.dtype, np.floating)
  if train.targets.ndim != 1 or classes is None or not floats:
    got = f"inputs {train.inputs.dtype} and targets {train.targets.shape}"
    raise validate.error("the data", got, "numbers in, and a class for each")
  if classes % validate.positive("tasks", tasks):
    expected = f"a divisor of {classes}, the classes"
    raise validate.error("tasks", tasks, expected)
  middle, both_parts = None, (train, splits.test)
  if any(part.lengths is not None for part in both_parts):
    # Marks are within the stored range, so that other channels keep their
    # precision.
    low, high = float(train.inputs.min()), float(train.inputs.max())
    middle, both_parts = (
      (low + high) / 2,
      [_marked(part, low, high) for part in both_parts],
    )
  parts, per_task = [], classes // tasks
  for part in both_parts:
    order = np.argsort(part.targets // per_task, kind="stable")
    targets = part.targets[order].astype(np.int32)
    parts.append(data.ArrayDataset(part.inputs[order], targets))
  numbers = parts[0].targets // per_task
  offsets = np.searchsorted(numbers, np.arange(tasks + 1)).tolist()
  return Stream(*parts, tasks, classes, tuple(offsets), middle)


def _marked(part, low, high):
  """Adds a channel that is high inside of the series and low in the padding."""
  inside = np.where(datasets.inside(part), high, low)
  features = [part.inputs, inside[..., None].astype(part.inputs.dtype)]
  return part._replace(inputs=np.concatenate(features, axis=-1))
