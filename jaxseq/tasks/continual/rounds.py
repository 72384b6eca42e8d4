"""Ends and beginnings of the tasks of a comparison, between its chunks."""

from collections.abc import Sequence
from typing import Any

import jax

from jaxseq import _validate
from jaxseq.tasks.continual import continual_methods
from jaxseq.tasks.continual import exemplars
from jaxseq.tasks.continual import task_learner
from jaxseq.training import supervised
from jaxseq.training.comparison import supervised_arms

# Of the key of what happens at the end of a task.
_END = 1


class Program(supervised_arms.Program):
  """The seeds of an arm, whose chunks end where tasks do.

  The beginning of a task belongs to the chunk after it, and its end to the one
  before: a run that is continued meets each of them once.
  """

  problem: task_learner.Learner

  def __init__(
    self, config: supervised_arms.Supervised, group: Sequence["Arm"]
  ):
    super().__init__(config, group)
    problem, optimizer = group[0].problem, group[0].optimizer

    def begin(state):
      key = jax.random.fold_in(state.key, state.update)
      variables = problem.begin(state.variables, key)
      opt_state = optimizer.init({"params": variables["params"]})
      return state._replace(variables=variables, opt_state=opt_state)

    def end(state, data):
      key = jax.random.fold_in(state.key, state.update)
      # The beginning of the next task has the key of this update.
      key = jax.random.fold_in(key, _END)
      return state._replace(variables=problem.end(state.variables, data, key))

    self._begin = self.compile(begin)
    self._end = self.compile(end, shared=1)

  def chunk(self, state: supervised.State, count: int) -> tuple[Any, Any]:
    """Makes a number of updates of all seeds, which are of one task."""
    done = int(jax.device_get(state.update)[0])
    every = self.problem.updates
    if done and done % every == 0:
      state = self._begin(state)
    state, metrics = super().chunk(state, count)
    if (done + count) % every == 0:
      state = self._end(state, *self._data)
    return state, metrics


class Arm(supervised_arms.Arm):
  """An arm that learns tasks one after the other."""

  programs = Program


def updates(config: Any) -> int:
  """Returns the updates of each task.

  Raises:
    ValueError: tasks cannot have equally many, or do not end with a chunk.
  """
  every, rest = divmod(config.num_updates, config.tasks)
  if rest or every % config.updates_per_chunk:
    multiple = config.tasks * config.updates_per_chunk
    expected = f"a multiple of {multiple}, chunks of all tasks"
    raise _validate.error("num_updates", config.num_updates, expected)
  return every


def kept(
  problem: task_learner.Learner, variables: dict[str, Any]
) -> dict[str, int]:
  """Returns what one seed of a learner keeps from task to task.

  Args:
    problem: the learner.
    variables: of all seeds.

  Returns:
    "bytes" of parameters, statistics and exemplars; "exemplars", their number.
    An optimizer starts afresh with each task, and what has been measured is not
    read again: neither counts.
  """
  held = {
    name: variables[name] for name in task_learner.KEPT if name in variables
  }
  (seeds,) = variables["record"]["now"].shape
  size, count = exemplars.num_bytes(held) // seeds, problem.size
  if isinstance(problem, continual_methods.Joint):
    examples = problem.stream.train
    count = len(examples.targets)
    size += count + problem.store(examples.inputs).nbytes
  return {"bytes": size, "exemplars": count}
