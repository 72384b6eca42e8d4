"""Arms that differ in traced numbers alone, trained as one program.

The arms' runs lie behind one another on the leading axis: all seeds of the
first arm, all of the second. Each arm has checkpoints and metrics of its own,
as if it had been trained alone.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.training import checkpoint
from jaxseq.training import run_directory
from jaxseq.training import scalars
from jaxseq.types import PyTree


def groups(config: Any, made: Mapping[str, Any]) -> list[list[str]]:
  """Returns the names of arms that are trained together.

  Args:
    config: the comparison; with a mesh every arm is alone.
    made: the arms by name, see `arms.Arm.stack`.
  """
  members = {}
  for name, arm in made.items():
    separate = arm.stack is None or not config.mesh.trivial
    members.setdefault((name,) if separate else (None, arm.stack), []).append(
      name
    )
  return list(members.values())


def split(tree: PyTree, count: int) -> list[PyTree]:
  """Divides a pytree into `count` equal parts of its leading axis."""
  if count == 1:
    # Arrays that processes share stay untouched.
    return [tree]

  def part(x, i):
    size = x.shape[0] // count
    return x[i * size : (i + 1) * size]

  return [jax.tree.map(lambda x, i=i: part(x, i), tree) for i in range(count)]


def join(parts: Sequence[PyTree]) -> PyTree:
  """Puts pytrees behind one another: the inverse of `split`."""
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def tile(state: PyTree, carries: Sequence[PyTree]) -> PyTree:
  """Returns the states of all arms before the first update.

  They come from the `supervised.State` of all seeds of one arm, and from the
  first carry of each arm, for one seed.
  """
  seeds = state.update.shape[0]

  def repeated(x):
    x = jnp.asarray(x)
    return jnp.broadcast_to(x, (seeds, *x.shape))

  return join(
    [state._replace(carry=jax.tree.map(repeated, c)) for c in carries]
  )


class Checkpointers(contextlib.ExitStack):
  """The checkpoints of all arms, with the methods of one `Checkpointer`.

  Args:
    directories: of the arms.
    keep: how many of the newest checkpoints of each are kept.
  """

  def __init__(self, directories: Sequence[pathlib.Path], *, keep: int):
    super().__init__()
    self.directory = directories[0].parent
    self._all = [
      self.enter_context(
        checkpoint.Checkpointer(path / run_directory.CHECKPOINTS, keep=keep)
      )
      for path in directories
    ]

  def save(self, step: int, tree: PyTree) -> None:
    """Starts to save the part of each arm, see `Checkpointer.save`.

    A run that was killed between two arms comes back to this step with the
    same numbers: saved parts stay.
    """
    for one, part in zip(self._all, split(tree, len(self._all))):
      if step not in one.steps():
        # Orbax does not write two checkpoints at a time in one process.
        self.wait()
        one.save(step, part)

  def restore(
    self, template: PyTree, step: int | None = None
  ) -> tuple[int, PyTree] | None:
    """Restores the newest step that all arms have, whole.

    What is damaged of a later one is set aside, see `Checkpointer.restore`.

    Args:
      template: the states of all arms.
      step: restores this one or fails.

    Returns:
      The step and the states; None if there is no such step.

    Raises:
      CheckpointError: no step is whole in all arms, or the template does not
        fit.
    """
    self.wait()
    steps = {step}
    if step is None:
      steps = set.intersection(*(set(one.steps()) for one in self._all))
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), template
    )
    parts = jax.eval_shape(lambda x: split(x, len(self._all)), shapes)
    failed: list[tuple[checkpoint.Checkpointer, Any]] = []
    for step in sorted(steps, reverse=True):
      restored = []
      for one, part in zip(self._all, parts):
        try:
          restored.append(one.restore(part, step)[1])
        except checkpoint.CheckpointError as error:
          if not error.damaged:
            raise
          failed.append((one, error))
      if len(restored) == len(self._all):
        for one, error in failed:
          one.set_aside(error.damaged, step)
        return step, join(restored)
    if failed:
      raise failed[0][1]
    return None

  def pin(self, step: int) -> None:
    """See `Checkpointer.pin`."""
    for one in self._all:
      one.pin(step)

  def pinned(self) -> int | None:
    """Returns the step that all arms keep for good, or None."""
    steps = {one.pinned() for one in self._all}
    return steps.pop() if len(steps) == 1 else None

  def go_back(self, step: int) -> None:
    """See `Checkpointer.go_back`."""
    for one in self._all:
      one.go_back(step)

  def wait(self) -> None:
    """Waits until the last saves are on disk."""
    for one in self._all:
      one.wait()


class MetricWriters(contextlib.ExitStack):
  """The metrics of all arms, with the methods of one `MetricWriter`.

  Args:
    directories: of the arms.
    **options: see `MetricWriter`.
  """

  def __init__(self, directories: Sequence[pathlib.Path], **options: Any):
    super().__init__()
    self._all = [
      self.enter_context(scalars.MetricWriter(path, **options))
      for path in directories
    ]

  def resume(self, step: int | None) -> None:
    """See `MetricWriter.resume`."""
    for writer in self._all:
      writer.resume(step)

  def write(self, step: int, values: Mapping[str, object]) -> None:
    """Writes the part of each arm; a plain number is that of all arms."""
    count = len(self._all)

    def spread(x):
      x = np.asarray(x)
      return np.broadcast_to(x, (count,)) if x.ndim == 0 else x

    flat = scalars.flatten(values)
    vectors = {name: spread(x) for name, x in flat.items()}
    for writer, part in zip(self._all, split(vectors, count)):
      writer.write(
        step,
        {name: x if np.ndim(flat[name]) else x[0] for name, x in part.items()},
      )

  def flush(self) -> None:
    """Puts everything written so far on disk."""
    for writer in self._all:
      writer.flush()
