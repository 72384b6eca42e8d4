"""The host loop: chunks of compiled updates, and what lies between them.

    state = init(key)                        # jitted on its own
    chunk = jax.jit(train, static_argnums=1, donate_argnums=0)
    state = loop.run(
      chunk, state, num_updates=1000, chunk_size=10,
      checkpointer=checkpointer, writer=writer, progress=progress,
    )

`chunk(state, n)` makes n updates and returns the new state and metrics. What
it computes must depend on its arguments only (the state holds the keys): then
a run that was killed and started again gives, bit for bit, the numbers of one
that was not, because it resumes where a chunk ended.
"""

from collections.abc import Callable
from collections.abc import Mapping
import contextlib
import sys
import time
from typing import Any
from typing import TypeVar

from absl import logging
import jax

from jaxseq import validate
from jaxseq.training import _early_stopping
from jaxseq.training import _lock
from jaxseq.training import checkpoint
from jaxseq.training import errors
from jaxseq.training import finite
from jaxseq.training import progress
from jaxseq.training import scalars
from jaxseq.training import signals
from jaxseq.training.devices import _watchdog
from jaxseq.training.devices import processes

# Seconds; compiling a large program takes many minutes.
_PATIENCE = 3600

State = TypeVar("State")
Metrics = Mapping[str, Any]


def run(
  run_chunk: Callable[[State, int], tuple[State, Metrics]],
  state: State,
  *,
  num_updates: int,
  chunk_size: int,
  update_axis: int | None = 0,
  steps_per_update: int = 1,
  checkpointer: checkpoint.Checkpointer | None = None,
  checkpoint_every: int = 1,
  writer: scalars.MetricWriter | None = None,
  evaluate: Callable[[State, int], Metrics] | None = None,
  evaluate_every: int = 1,
  progress: progress.Progress | None = None,
  patience: float | None = None,
  guard: finite.Guard | None = None,
  rule: _early_stopping.Rule | None = None,
) -> State:
  """Trains to the end, from the newest checkpoint if there is one.

  Steps (in rows, checkpoints and the progress bar) are updates times
  `steps_per_update`. Rows that an earlier process wrote after the checkpoint
  are dropped and written again. The last row of each chunk tells the speed, as
  "steps_per_second", and "steps_per_cpu_second" by the time that this process
  has had of all cores, unless the chunk may have been compiled.

  SIGTERM and SIGINT let the running chunk end; then the state is saved and
  `signals.Stopped` ends the program, with exit code 0 for SIGTERM.

  Args:
    run_chunk: makes a number of updates; returns the new state and metrics. It
      may donate its state.
    state: a pytree, the state before the first update; also the template that
      checkpoints are restored onto.
    num_updates: updates of the whole run.
    chunk_size: updates between two returns to the host; the last chunk may be
      shorter.
    update_axis: the axis of the metrics that counts the chunk's updates, which
      become rows; None if the metrics are of the chunk as a whole, which
      becomes one row. The other axes are none, or one of seeds.
      A function vmapped over seeds puts the seeds first: its axis is 1.
    steps_per_update: such as environment steps, or examples.
    checkpointer: of the run's states; None saves nothing.
    checkpoint_every: chunks between two checkpoints; the end is always saved.
    writer: where rows go; None writes none.
    evaluate: called with the state and the step; returns more metrics, for a
      row of their own. It must not donate the state.
    evaluate_every: chunks between two evaluations; the end is always evaluated.
    progress: the bar, which is entered and left here.
    patience: seconds without a sign of life, compilation included, after which
      the program ends, see `watchdog`; 0 for never. None is an hour with
      several processes, which may wait for one another for ever, and otherwise
      never.
    guard: looks for numbers that are not finite, which chunks then report under
      the name `finite.FLAGS`. A state whose runs have all failed is not saved;
      before a state with some failed runs is saved, the newest checkpoint is
      kept for good.
    rule: keeps in the state what evaluations say is best; the run ends early
      when it says that all seeds have stopped. An automatic one has an
      evaluation before the first update, which no row tells of.

  Returns:
    The state after the last update.

  Raises:
    ValueError: a number is not positive, or the metrics do not fit
      `update_axis`.
    UserError: the checkpoint is from beyond the end of this run.
    NotFinite: the guard has found that no run is left.
    Stopped: a signal asked for it.
  """
  validate.all_positive(
    num_updates=num_updates,
    chunk_size=chunk_size,
    steps_per_update=steps_per_update,
    checkpoint_every=checkpoint_every,
    evaluate_every=evaluate_every,
  )
  if patience is None:
    patience = _PATIENCE if jax.process_count() > 1 else 0
  chunks = _Chunks(run_chunk, update_axis, steps_per_update, guard)
  evaluated: Metrics = {}
  with (
    processes.end_with_the_others(),
    signals.GracefulStop() as stop,
    _watchdog.Watchdog(patience) as dog,
    (progress if processes.is_first() else None)
    or contextlib.nullcontext() as bar,
  ):
    step, state = _restore(checkpointer, state, guard)
    done = _updates(checkpointer, step, num_updates, steps_per_update)
    total = num_updates * steps_per_update
    _begin(bar, writer, step, total)
    saved = step if done else None
    if guard is not None and done:
      _act(guard.failed, guard, None, None, None)
    if evaluate is not None and not done:
      state = _keep_first(rule, state, evaluate, step)
    stopped = stop.requested()
    over = done and rule is not None and rule.stopped(state).all()
    while done < num_updates and not stopped and not over:
      count = next_count(done, chunk_size, num_updates)
      dog.beat(f"making the updates after step {step}")
      before, timed = step, chunks.is_compiled(count)
      state, rows, broken = chunks.make(state, count, bar)
      done += count
      step, chunk = done * steps_per_update, -(-done // chunk_size)
      last = done == num_updates
      rows = _stepped(rows, done, steps_per_update)
      for at, row in rows:
        _write(writer, at, row)
      if guard is not None:
        failures = guard.look(state, rows, broken, before, saved)
        _act(failures, guard, checkpointer, writer, saved)
      latest = scalars.flatten(rows[-1][1])
      dog.beat(f"evaluating or saving step {step}")
      if evaluate is not None and (last or chunk % evaluate_every == 0):
        evaluated = _evaluate(bar, writer, evaluate, state, step, evaluated)
        latest.update(evaluated)
        state, over = _keep(rule, state, evaluated)
      if bar is not None:
        bar.update(step, latest, timed=timed)
      # Asked once a chunk: with several processes they must do it together.
      stopped = stop.requested()
      due = last or over or stopped or chunk % checkpoint_every == 0
      if checkpointer is not None and due:
        _save(checkpointer, writer, step, state)
        saved = step
    if checkpointer is not None:
      checkpointer.wait()
    if over and done < num_updates:
      _tell(bar, f"stopped early, after step {step:,} of {total:,}")
  if stopped and done < num_updates and not over:
    _print_stop(stopped, step, checkpointer)
    raise signals.Stopped(stopped, step)
  return state


def next_count(done: int, chunk_size: int, num_updates: int) -> int:
  """Returns the updates of the chunk after so many updates."""
  # A run whose chunk size was changed comes back to multiples of it.
  return min(chunk_size - done % chunk_size, num_updates - done)


def _begin(bar, writer, step, total) -> None:
  """Starts the rows and the bar of a run, which may have been trained."""
  if writer is not None:
    writer.resume(step or None)
  if step == total:
    _tell(bar, f"was trained to its end before, step {step:,}")
  elif step:
    _tell(bar, f"resumes after step {step:,} of {total:,}")
  if bar is not None:
    bar.start(step)


class _Chunks:
  """Makes chunks of updates, and measures the speed of compiled ones."""

  def __init__(self, run_chunk, update_axis, steps_per_update, guard):
    self._run_chunk, self._guard = run_chunk, guard
    self._update_axis, self._steps = update_axis, steps_per_update
    self._compiled: set[int] = set()

  def is_compiled(self, count: int) -> bool:
    """Returns whether a chunk of so many updates has been made."""
    return count in self._compiled

  def make(self, state, count, bar):
    """Returns a chunk's state, its rows and the guard's broken leaves."""
    timed = self.is_compiled(count)
    self._compiled.add(count)
    if bar is not None:
      bar.doing("" if timed else "compiling", compiles=not timed)
    start, cpu_start = time.monotonic(), time.process_time()
    state, metrics = self._run_chunk(state, count)
    metrics, broken = jax.device_get(metrics), None
    if self._guard is not None:
      metrics, broken = self._guard.take(metrics)
    seconds = time.monotonic() - start
    cpu_seconds = time.process_time() - cpu_start
    rows = list(scalars.split_updates(metrics, count, self._update_axis))
    if timed:
      # The first chunk of a size is compiled: its time tells no speed.
      rows[-1]["steps_per_second"] = count * self._steps / seconds
      # The clock of some systems is too coarse for short chunks.
      if cpu_seconds > 0:
        rows[-1]["steps_per_cpu_second"] = count * self._steps / cpu_seconds
    return state, rows, broken


def _stepped(rows, done, steps_per_update):
  """Returns the rows of the last updates with their steps."""
  first = done - len(rows) + 1
  return [((first + i) * steps_per_update, row) for i, row in enumerate(rows)]


def _evaluate(bar, writer, evaluate, state, step, before):
  """Writes and returns the metrics of an evaluation after others."""
  if bar is not None:
    bar.doing("evaluating", compiles=not before)
  evaluated = scalars.flatten(jax.device_get(evaluate(state, step)))
  _write(writer, step, evaluated)
  return evaluated


def _keep_first(rule, state, evaluate, step):
  """Evaluates before the first update if the rule is an automatic one."""
  if rule is None or not rule.automatic:
    return state
  # Of the beginning no row tells, which would have a step of its own.
  metrics = jax.device_get(evaluate(state, step))
  return rule.keep(state, scalars.flatten(metrics))


def _keep(rule, state, evaluated):
  """Returns the state with the best variables, and whether training ends."""
  if rule is None:
    return state, False
  state = rule.keep(state, evaluated)
  return state, rule.stopped(state).all()


def _save(checkpointer, writer, step, state) -> None:
  """Saves a state, and before it the rows, which are never written again."""
  if processes.is_first():
    _lock.check(checkpointer.directory)
  if writer is not None:
    writer.flush()
  checkpointer.save(step, state)


def _restore(checkpointer, state, guard):
  """Returns the step that a run resumes from, and its state."""
  restored = checkpointer.restore(state) if checkpointer is not None else None
  if restored is None:
    return 0, state
  if guard is None or not guard.restored(restored[1], restored[0]):
    return restored
  newest, pinned = guard.failed, checkpointer.pinned()
  # Where seeds have failed in the newest checkpoint the guard may go back.
  if guard.goes_back and pinned is not None and pinned < restored[0]:
    earlier = _earlier(checkpointer, state, pinned)
    if earlier is not None and not guard.restored(earlier[1], pinned):
      checkpointer.go_back(pinned)
      if processes.is_first():
        for sentence in finite.sentences(newest):
          print(f"warning: {sentence}; going back", file=sys.stderr)
      return earlier
    guard.failed = newest
  return restored


def _earlier(checkpointer, state, step):
  """Returns the checkpoint of a step; None, and a warning, if it is damaged."""
  try:
    return checkpointer.restore(state, step)
  except checkpoint.CheckpointError as error:
    if not error.damaged:
      raise
    logging.warning(
      "The checkpoint of step %d, from before numbers were not finite, is"
      " damaged (%s): the newest one is gone on from",
      step,
      "; ".join(error.damaged.values()),
    )
    return None


def _updates(checkpointer, step, num_updates, steps_per_update):
  """Returns how many updates are done at a step."""
  done, rest = divmod(step, steps_per_update)
  if rest or done > num_updates:
    raise errors.UserError(
      f"the checkpoint of step {step} in {str(checkpointer.directory)!r} is no "
      f"step of this run, which ends at {num_updates * steps_per_update} and "
      f"makes {steps_per_update} steps per update"
    )
  return done


def _act(failures, guard, checkpointer, writer, saved) -> None:
  """Reports a guard's finds, pins the last good state, or ends the run."""
  if not failures:
    return
  if guard.all_failed:
    if writer is not None:
      writer.flush()
    if checkpointer is not None:
      checkpointer.wait()
    raise finite.NotFinite(guard.failed)
  if checkpointer is not None and saved is not None:
    checkpointer.pin(saved)
  if processes.is_first():
    for sentence in finite.sentences(failures):
      print(f"warning: {sentence}; the others go on", file=sys.stderr)


def _write(writer, step: int, row: Metrics) -> None:
  if writer is not None:
    writer.write(step, row)


def _tell(bar: object, text: str) -> None:
  """Prints what becomes of a run, with what the bar calls it."""
  if processes.is_first():
    label = f"{bar.label}: " if getattr(bar, "label", "") else ""
    print(f"{label}{text}", file=sys.stderr)


def _print_stop(name: str, step: int, checkpointer: Any) -> None:
  if not processes.is_first():
    return
  if checkpointer is None:
    text = "nothing was saved"
  elif step == 0:
    text = "there was nothing to save yet"
  else:
    text = (
      f"the state is saved in {checkpointer.directory}; run the same command "
      "again to go on from there"
    )
  print(f"{name}: stopped after step {step}; {text}", file=sys.stderr)
