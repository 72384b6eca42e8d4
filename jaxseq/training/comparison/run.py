"""Training and evaluating the arms of a comparison, from where they are."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import pathlib
import time
from typing import Any

from jaxseq._types import PyTree
from jaxseq.training import checkpoint
from jaxseq.training import errors
from jaxseq.training import loop
from jaxseq.training import progress
from jaxseq.training import run_directory
from jaxseq.training import scalars
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import stacked

Results = dict[str, dict[str, Any]]
# Called with the name of an arm, its step and the state of its seeds, once it
# is measured; with several processes, on each.
Each = Callable[[str, int, Any], None]


def train(
  config: arms.Arms,
  directory: pathlib.Path,
  made: Mapping[str, arms.Arm],
  each: Each = lambda name, step, state: None,
) -> Results:
  """Trains all arms from where they are, and measures them.

  Args:
    config: the comparison.
    directory: of the run.
    made: the arms by name.
    each: called for every arm.

  Returns:
    What each arm reports.
  """
  results = {}
  for names in stacked.groups(config, made):
    results |= _train(config, directory, names, made, each)
  return {name: results[name] for name in made}


def _train(config, directory, names, made, each):
  """Trains arms as one program; what they need is freed before the next."""
  first, *beside = (made[name] for name in names)
  program = first.program(config, beside)
  places = [directory / name for name in names]
  label = names[0] if len(names) == 1 else f"{len(names)} arms"
  start = time.monotonic()
  state = train_program(
    program,
    places,
    config,
    label=label.ljust(max(map(len, made))),
    metric=first.metric,
  )
  seconds = time.monotonic() - start
  results = {}
  parts = stacked.split(state, len(names))
  for name, place, part in zip(names, places, parts):
    results[name] = made[name].report(program, part, place, seconds)
    each(name, program.num_updates * program.steps_per_update, part)
  return results


def train_program(
  program: arms.Program,
  directories: list[pathlib.Path],
  config: arms.Arms,
  *,
  metric: str | tuple[str, ...],
  label: str = "",
) -> Any:
  """Trains a program, from the newest checkpoint if there is one.

  Args:
    program: of one arm, or of several side by side.
    directories: of the arms.
    config: of the comparison.
    metric: that the progress bar shows, or names of several.
    label: in front of the progress bar.

  Returns:
    The state after the last update.
  """
  keep, tensorboard = config.keep_checkpoints, config.tensorboard
  if len(directories) == 1:
    place = directories[0]
    checkpoints = checkpoint.Checkpointer(
      place / run_directory.CHECKPOINTS, keep=keep
    )
    metrics = scalars.MetricWriter(place, tensorboard=tensorboard)
  else:
    checkpoints = stacked.Checkpointers(directories, keep=keep)
    metrics = stacked.MetricWriters(directories, tensorboard=tensorboard)
  evaluate_every = program.evaluate_every
  with checkpoints as checkpointer, metrics as writer:
    return loop.run(
      program.chunk,
      program.init(),
      num_updates=program.num_updates,
      chunk_size=config.updates_per_chunk,
      update_axis=program.update_axis,
      steps_per_update=program.steps_per_update,
      checkpointer=checkpointer,
      checkpoint_every=config.chunks_per_checkpoint,
      writer=writer,
      evaluate=evaluate_every and (lambda state, step: program.evaluate(state)),
      evaluate_every=evaluate_every or 1,
      progress=progress.Progress(
        program.num_updates * program.steps_per_update,
        metric=metric,
        label=label,
      ),
    )


def evaluate(
  config: arms.Arms,
  directory: pathlib.Path,
  made: Mapping[str, arms.Arm],
  each: Each = lambda name, step, state: None,
  names: Iterable[str] | None = None,
) -> Results:
  """Measures the newest checkpoints of arms.

  Args:
    config: the comparison.
    directory: of the run.
    made: the arms by name.
    each: called for every arm that is measured.
    names: which arms; None for all that have a checkpoint.

  Returns:
    What each arm reports, and the "step" of its checkpoint.

  Raises:
    UserError: no arm has a checkpoint, or one has none that is whole.
  """
  results = {}
  for name in trained(made, directory) if names is None else names:
    program = made[name].program(config)
    step, state = restore_program(program, directory / name)
    report = made[name].report(program, state, directory / name, None)
    results[name] = {"step": step, **report}
    each(name, step, state)
    # Freed before the next one is restored.
    del program, state
  return results


def restore(
  config: arms.Arms, directory: pathlib.Path, name: str, arm: arms.Arm
) -> tuple[int, PyTree]:
  """Returns the step and the state of an arm's newest checkpoint.

  Args:
    config: the comparison.
    directory: of the run.
    name: of the arm.
    arm: the arm.

  Raises:
    UserError: the arm has no checkpoint, or none that is whole.
  """
  return restore_program(arm.program(config), directory / name)


def restore_program(
  program: arms.Program, directory: pathlib.Path
) -> tuple[int, PyTree]:
  """As `restore`, for the program of the arm and its own directory."""
  place = directory / run_directory.CHECKPOINTS
  with checkpoint.Checkpointer(place, read_only=True) as checkpointer:
    found = checkpointer.restore(program.template())
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
