"""Arms of an experiment: their common configuration, and training one of them.

An experiment compares arms, which differ in some fields of the configuration.
Each arm is trained in a sub-directory of its own, all its seeds as one program.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
import re
from typing import Any

import jax
import ml_collections

from jaxseq._types import PyTree
from jaxseq.training import checkpoint
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import loop
from jaxseq.training import progress
from jaxseq.training import run_directory
from jaxseq.training import scalars
from jaxseq.training.comparison import stacked
from jaxseq.training.devices import device_mesh
from jaxseq.training.devices import placement
from jaxseq.training.devices import seeds

EMPTY = ml_collections.FrozenConfigDict()


@dataclasses.dataclass(frozen=True)
class Arms:
  """What all comparisons of arms have in their configuration.

  Attributes:
    arms: for each arm, by name, the fields in which it differs; it is trained
      in the sub-directory of that name.
    seed: all random numbers come from it.
    num_seeds: independent runs of each arm.
    updates_per_chunk: updates between two returns to the host.
    chunks_per_checkpoint: chunks between two checkpoints.
    keep_checkpoints: how many of the newest checkpoints stay.
    tensorboard: whether to write event files as well.
    references: levels to draw as dashed lines in the plot, by label.
  """

  arms: Mapping[str, Mapping[str, Any]]
  seed: int = 0
  num_seeds: int = 2
  updates_per_chunk: int = 5
  chunks_per_checkpoint: int = 6
  keep_checkpoints: int = 3
  tensorboard: bool = True
  references: Mapping[str, float] = EMPTY

  def __post_init__(self):
    if not self.arms:
      raise ValueError("arms: got none, expected at least one.")
    for name in self.arms:
      if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
          f"arms: got the name {name!r}, expected one that can be that of a"
          " directory."
        )
    if not 0 <= self.seed < 2**31:
      raise ValueError(f"seed: got {self.seed}, expected 0 to 2147483647.")
    self.check_positive(
      "num_seeds",
      "updates_per_chunk",
      "chunks_per_checkpoint",
      "keep_checkpoints",
    )

  def check_positive(self, *names: str) -> None:
    """Raises ValueError if one of these fields is below 1."""
    for name in names:
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name}: got {getattr(self, name)}, expected 1 or more."
        )


def merge(config: Arms, arm: str, shared: Any, cls: type) -> Any:
  """Builds the whole configuration of one arm.

  Args:
    config: the comparison.
    arm: name of the arm.
    shared: mapping with the fields that all arms have in common.
    cls: dataclass of an arm's configuration.

  Returns:
    A `cls` of the shared fields, overridden by those of the arm.

  Raises:
    UserError: (a ValueError) a field is unknown or has a wrong value.
  """
  merged = ml_collections.ConfigDict(_plain(shared), type_safe=False)
  merged.update(_plain(config.arms[arm]))
  return configuration.from_config_dict(cls, merged, name=f"config.arms.{arm}")


def _plain(mapping):
  return mapping.to_dict() if hasattr(mapping, "to_dict") else dict(mapping)


def train_arm(
  label: str,
  chunk: Callable[[Any, int], tuple[Any, Any]],
  state: PyTree,
  directory: pathlib.Path | Sequence[pathlib.Path],
  config: Arms,
  *,
  num_updates: int,
  metric: str | tuple[str, ...],
  update_axis: int | None,
  steps_per_update: int = 1,
  **options: Any,
) -> Any:
  """Trains all seeds of an arm, from the newest checkpoint if there is one.

  Args:
    label: in front of the progress bar.
    chunk: as in `loop.run`.
    state: before the first update.
    directory: of the arm; or those of several, trained as one, see `stacked`.
    config: of the comparison.
    num_updates: of the whole run.
    metric: that the progress bar shows; several are shown side by side.
    update_axis: as in `loop.run`.
    steps_per_update: as in `loop.run`.
    **options: more of `loop.run`.

  Returns:
    The state after the last update.
  """
  bar = progress.Progress(
    num_updates * steps_per_update, metric=metric, label=label
  )
  if isinstance(directory, pathlib.Path):
    checkpoints = checkpoint.Checkpointer(
      directory / run_directory.CHECKPOINTS, keep=config.keep_checkpoints
    )
    metrics = scalars.MetricWriter(directory, tensorboard=config.tensorboard)
  else:
    checkpoints = stacked.Checkpointers(directory, keep=config.keep_checkpoints)
    metrics = stacked.MetricWriters(directory, tensorboard=config.tensorboard)
  with checkpoints as checkpointer, metrics as writer:
    return loop.run(
      chunk,
      state,
      num_updates=num_updates,
      chunk_size=config.updates_per_chunk,
      update_axis=update_axis,
      steps_per_update=steps_per_update,
      checkpointer=checkpointer,
      checkpoint_every=config.chunks_per_checkpoint,
      writer=writer,
      progress=bar,
      **options,
    )


def restore(
  label: str, template: PyTree, directory: pathlib.Path
) -> tuple[int, Any]:
  """Returns the step and the state of an arm's newest checkpoint.

  Args:
    label: name of the arm, its sub-directory.
    template: the shapes of the seeds' states, see `Checkpointer.restore`.
    directory: of the run.

  Raises:
    UserError: the arm has no checkpoint, or none that is whole.
  """
  place = directory / label / run_directory.CHECKPOINTS
  with checkpoint.Checkpointer(place, read_only=True) as checkpointer:
    found = checkpointer.restore(template)
  if found is None:
    raise errors.UserError(f"{str(place)!r} holds no checkpoint: train first")
  return found


def trained(names: Iterable[str], directory: pathlib.Path) -> list[str]:
  """Returns the arms that have a checkpoint; tells which ones have none.

  Args:
    names: of the arms.
    directory: of the run.

  Raises:
    UserError: none of them has a checkpoint.
  """
  found, missing = [], []
  for name in names:
    place = directory / name / run_directory.CHECKPOINTS
    with checkpoint.Checkpointer(place, read_only=True) as checkpointer:
      (found if checkpointer.steps() else missing).append(name)
  if not found:
    raise errors.UserError(
      f"{str(directory)!r} holds no checkpoint: train first"
    )
  if missing:
    print(f"Left out, without a checkpoint: {', '.join(missing)}.")
  return found


def initial(init: Callable, num_seeds: int) -> Callable:
  """Compiles a function from a key to a state, for the keys of all seeds."""
  options = {}
  if jax.default_backend() == "cpu":
    # It runs once: optimising it costs more than it gives.
    options["compiler_options"] = {"xla_backend_optimization_level": 0}
  return seeds.jit(init, num_seeds, one_by_one=True, **options)


def initial_state(
  mesh: device_mesh.MeshConfig, init: Callable, keys: jax.Array, examples: str
) -> Any:
  """Returns the states of all seeds before the first update, where they belong.

  Args:
    mesh: the mesh.
    init: key -> state of one seed.
    keys: (num_seeds,), see `placement.create`.
    examples: see `placement.state_placements`.
  """
  where = _placements(mesh, init, keys, examples)[1]
  if where is None:
    return initial(init, len(keys))(keys)
  make = placement.compiled(
    mesh, len(keys), init, one_by_one=True, out_shardings=where
  )
  return make(keys)


def template(
  mesh: device_mesh.MeshConfig, init: Callable, keys: jax.Array, examples: str
) -> Any:
  """Returns the shapes of all seeds' states, placed as they are trained.

  The arguments are those of `initial_state`.
  """
  shapes, where = _placements(mesh, init, keys, examples)
  if where is None:
    return shapes

  def placed(x, sharding):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  return jax.tree.map(placed, shapes, where)


def _placements(mesh, init, keys, examples):
  shapes = jax.eval_shape(jax.vmap(init), keys)
  return shapes, placement.state_placements(mesh, shapes, examples)
