"""Training and evaluating the arms of a comparison, from where they are."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import contextlib
import pathlib
import sys
import time
from typing import Any

import jax

from jaxseq.training import checkpoint
from jaxseq.training import errors
from jaxseq.training import finite
from jaxseq.training import loop
from jaxseq.training import optimizers
from jaxseq.training import progress
from jaxseq.training import run_directory
from jaxseq.training import scalars
from jaxseq.training import signals
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import stacked
from jaxseq.training.devices import processes
from jaxseq.types import PyTree

Results = dict[str, dict[str, Any]]
# Called with the name of an arm, its step, the state of its seeds and what it
# reports, once it is measured; with several processes, on each.
Each = Callable[[str, int, Any, dict[str, Any]], None]


class Failed(finite.NotFinite):
  """Some seeds have failed; all arms are trained.

  Attributes:
    results: of the arms with at least one seed that has not failed.
    failed: by arm and seed, the failure.
  """

  def __init__(self, results: Results, failed: finite.Failed):
    super().__init__(failed)
    self.results = results


def train(
  config: arms.Arms,
  directory: pathlib.Path,
  made: Mapping[str, arms.Arm],
  each: Each = lambda name, step, state, report: None,
) -> Results:
  """Trains all arms from where they are, and measures them.

  Args:
    config: the comparison.
    directory: of the run.
    made: the arms by name.
    each: called for every arm.

  Returns:
    What each arm reports.

  Raises:
    Failed: numbers of some seeds have become NaN or infinite; all arms have
      been trained nevertheless.
    Stopped: a signal asked for it, perhaps at the end of an arm.
  """
  results, failed = {}, {}
  for names in signals.one_by_one(stacked.groups(config, made)):
    results_of_group, wrong = _train(config, directory, names, made, each)
    results |= results_of_group
    failed |= wrong
  results = {name: results[name] for name in made if name in results}
  if failed:
    raise Failed(results, {n: failed[n] for n in made if n in failed})
  return results


def _train(config, directory, names, arms_by_name, each):
  """Returns results and failures of arms that are trained as one program."""
  first, *others = (arms_by_name[name] for name in names)
  program = first.program(config, others)
  places = [directory / name for name in names]
  label = names[0] if len(names) == 1 else f"{len(names)} arms"
  start = time.monotonic()
  try:
    state, failed = train_program(
      program,
      places,
      config,
      label=label.ljust(max(map(len, arms_by_name))),
      metric=first.metric,
    )
  except finite.NotFinite as error:
    return {}, error.failed
  seconds = time.monotonic() - start
  results = {}
  parts = stacked.split(state, len(names))
  for name, place, part in zip(names, places, parts):
    lost = failed.get(name, {})
    if len(lost) == config.num_seeds:
      continue
    part = finite.replace(part, lost, config.num_seeds)
    report = arms_by_name[name].report(program, part, place, seconds)
    if config.on_nonfinite == "skip":
      report[optimizers.SKIPPED] = curves.total(place, optimizers.SKIPPED)
    results[name] = finite.hide(report, lost)
    steps = _updates(program, part) * program.steps_per_update
    each(name, steps, part, results[name])
  return results, failed


def train_program(
  program: arms.Program,
  directories: list[pathlib.Path],
  config: arms.Arms,
  *,
  metric: str | tuple[str, ...],
  label: str = "",
) -> tuple[Any, finite.Failed]:
  """Trains a program, from the newest checkpoint if there is one.

  Args:
    program: of one arm, or of several side by side.
    directories: of the arms.
    config: of the comparison.
    metric: that the progress bar shows, or names of several.
    label: in front of the progress bar.

  Returns:
    The state after the last update, or, with early stopping, with the variables
    that were best on validation; and the failures by arm and seed.

  Raises:
    NotFinite: numbers of all seeds of all arms have become NaN or infinite.
  """
  keep = config.keep_checkpoints
  hooks = [*arms.hooks(config), *program.hooks]
  rows = {"tensorboard": config.tensorboard, "hooks": hooks}
  if len(directories) == 1:
    place = directories[0]
    checkpoints = checkpoint.Checkpointer(
      place / run_directory.CHECKPOINTS, keep=keep
    )
    metrics = scalars.MetricWriter(place, **rows)
  else:
    checkpoints = stacked.Checkpointers(directories, keep=keep)
    metrics = stacked.MetricWriters(directories, **rows)
  guard = None
  if config.on_nonfinite != "ignore":
    guard = _guard(config, program, [place.name for place in directories])
  evaluate_every = program.evaluate_every
  with (
    contextlib.closing(program),
    checkpoints as checkpointer,
    metrics as writer,
  ):
    state = loop.run(
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
      guard=guard,
      rule=program.rule,
    )
  if program.rule is not None:
    state = program.rule.chosen(state)
  return state, {} if guard is None else guard.failed


def evaluate(
  config: arms.Arms,
  directory: pathlib.Path,
  made: Mapping[str, arms.Arm],
  each: Each = lambda name, step, state, report: None,
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
    lost = _lost(config, name, program, state, step)
    state = finite.replace(state, lost, config.num_seeds)
    report = made[name].report(program, state, directory / name, None)
    report = finite.hide(report, lost)
    results[name] = {"step": step, **report}
    each(name, step, state, results[name])
    # Freed before the next one is restored.
    del program, state
  return results


def _updates(program, state):
  """Returns how many updates have been made; early stopping makes fewer."""
  if program.rule is None:
    return program.num_updates
  return int(jax.device_get(state.update).max())


def _guard(config, program, names):
  """Returns what looks for numbers that are not finite in arms."""
  skips = config.on_nonfinite == "skip"
  return finite.Guard(
    names,
    config.num_seeds,
    program.trained,
    program.broken,
    () if skips else program.losses,
    None if program.rule is None else program.rule.stopped,
    goes_back=skips,
  )


def _lost(config, name, program, state, step):
  """Tells of the seeds whose checkpoint has numbers that are not finite."""
  failed = _guard(config, program, [name]).restored(state, step)
  lost = failed.get(name, {})
  if len(lost) == config.num_seeds:
    raise finite.NotFinite(failed)
  if processes.is_first():
    for sentence in finite.sentences(failed):
      print(f"warning: {sentence}; left out", file=sys.stderr)
  return lost


def restore(
  config: arms.Arms, directory: pathlib.Path, name: str, arm: arms.Arm
) -> tuple[int, PyTree]:
  """Returns the step and the state of an arm's newest checkpoint.

  Where there is early stopping its variables are those best on validation.

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
  """Returns `restore`'s result for an arm's program and its own directory."""
  place = directory / run_directory.CHECKPOINTS
  with checkpoint.Checkpointer(place, read_only=True) as checkpointer:
    restored = checkpointer.restore(program.template())
  if restored is None:
    raise errors.UserError(f"{str(place)!r} holds no checkpoint: train first")
  step, state = restored
  return step, state if program.rule is None else program.rule.chosen(state)


def trained(names: Iterable[str], directory: pathlib.Path) -> list[str]:
  """Returns the arms that have a checkpoint; tells which ones have none.

  Args:
    names: of the arms.
    directory: of the run.

  Raises:
    UserError: no arm has a checkpoint.
  """
  names_trained, missing = [], []
  for name in names:
    place = directory / name / run_directory.CHECKPOINTS
    with checkpoint.Checkpointer(place, read_only=True) as checkpointer:
      (names_trained if checkpointer.steps() else missing).append(name)
  if not names_trained:
    raise errors.UserError(
      f"{str(directory)!r} holds no checkpoint: train first"
    )
  if missing:
    print(f"Left out, without a checkpoint: {', '.join(missing)}.")
  return names_trained
