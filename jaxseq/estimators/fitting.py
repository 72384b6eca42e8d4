"""Training in memory: the experiments' loop, for one seed, without files."""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import numpy as np

from jaxseq.estimators import programs
from jaxseq.training import compile_cache
from jaxseq.training import finite
from jaxseq.training import loop
from jaxseq.training import progress
from jaxseq.training import scalars
from jaxseq.training import signals
from jaxseq.training.comparison import supervised_arms
from jaxseq.types import PyTree

_NAME = "model"
# Most returns to the host if nothing is evaluated.
_CHUNKS = 20


@dataclasses.dataclass(frozen=True)
class Fitted:
  """The result of training.

  Attributes:
    network: network of the problem.
    variables: variables of the problem; with early stopping the best on
      validation examples.
    update: number of updates at which the variables were found.
    history: metrics by name: "update", those of training, and those of
      validation examples, each a list over evaluations.
  """

  network: Any
  variables: PyTree
  update: int
  history: dict[str, list[float]]


def train(
  make: Callable[[supervised_arms.Supervised], supervised_arms.Arm],
  *,
  num_updates: int,
  early_stopping: int | None,
  evaluations: int,
  seed: int,
  label: str,
  verbose: int,
) -> Fitted:
  """Trains a problem from start to end.

  Args:
    make: builds the only arm from the configuration of a comparison.
    num_updates: maximum number of updates.
    early_stopping: evaluations without improvement on the validation examples
      after which it stops; 0 for never, see `supervised_arms.Supervised`.
    evaluations: number of evaluations of the whole training.
    seed: seed of all random numbers.
    label: name in the progress bar.
    verbose: whether to show a progress bar.

  Raises:
    NotFinite: (a ValueError) if a loss or parameter is not finite.
    KeyboardInterrupt: if it was interrupted.
  """
  chunks = _CHUNKS if early_stopping == 0 else evaluations
  config = supervised_arms.Supervised(
    arms={_NAME: {}},
    seed=seed,
    num_seeds=1,
    num_updates=num_updates,
    updates_per_chunk=max(1, num_updates // chunks),
    chunks_per_evaluation=1,
    early_stopping=early_stopping,
  )
  compile_cache.enable()
  arm = make(config)
  program = programs.of(config, arm)
  history = _History()
  stopped = None if program.rule is None else program.rule.stopped
  guard = finite.Guard(
    [_NAME], 1, program.trained, program.broken, program.losses, stopped
  )
  watched = arm.part == "validation"
  bar = None
  if verbose:
    metric = arm.metric if watched else "loss"
    bar = progress.Progress(
      num_updates, unit="update", metric=metric, label=label
    )

  def evaluate(state, step):
    del step
    return program.evaluate(state)

  try:
    state = loop.run(
      program.chunk,
      program.init(),
      num_updates=num_updates,
      chunk_size=config.updates_per_chunk,
      update_axis=program.update_axis,
      writer=history,
      evaluate=evaluate if watched else None,
      progress=bar,
      guard=guard,
      rule=program.rule,
    )
  except signals.Stopped as stop:
    raise KeyboardInterrupt(f"stopped after update {stop.step}") from stop
  update = state.update
  if program.rule is not None:
    state = program.rule.chosen(state)
    update = state.best.update
  variables = jax.tree.map(lambda x: x[0], jax.device_get(state.variables))
  return Fitted(
    arm.problem.network, variables, int(update[0]), history.columns()
  )


class _History:
  """Stores the rows that `loop.run` writes: a `scalars.MetricWriter`."""

  def __init__(self):
    self._rows: dict[int, dict[str, float]] = {}

  def resume(self, step: int | None) -> None:
    """Does nothing: nothing was written before."""

  def flush(self) -> None:
    """Does nothing: nothing is buffered."""

  def write(self, step: int, row: Any) -> None:
    """Adds the means over the single seed."""
    numbers = {
      name: float(np.mean(np.asarray(value, float)))
      for name, value in scalars.flatten(row).items()
    }
    self._rows.setdefault(int(step), {}).update(numbers)

  def columns(self) -> dict[str, list[float]]:
    """Returns lists over rows; NaN for names that a row lacks."""
    names = dict.fromkeys(k for row in self._rows.values() for k in row)
    entries: dict[str, list[float]] = {"update": list(self._rows)}
    for name in names:
      entries[name] = [row.get(name, np.nan) for row in self._rows.values()]
    return entries
