"""Task boundaries of a comparison, between its chunks."""

from collections.abc import Sequence
from typing import Any

import jax

from experiments.continual import exemplars
from experiments.continual import methods
from experiments.continual import task_learner
from jaxseq import validate
from jaxseq.training import supervised
from jaxseq.training.comparison import supervised_arms

# Folded into the random key at the end of a task.
_END = 1


class Program(supervised_arms.Program):
  """The seeds of an arm; tasks end at ends of chunks.

  The beginning of a task belongs to the chunk after it, its end to the chunk
  before, so that a resumed run executes each of them once.
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
    """Runs a number of updates, all of one task, for all seeds."""
    done = int(jax.device_get(state.update)[0])
    per_task = self.problem.updates
    if done and done % per_task == 0:
      state = self._begin(state)
    state, metrics = super().chunk(state, count)
    if (done + count) % per_task == 0:
      state = self._end(state, *self._data)
    return state, metrics


class Arm(supervised_arms.Arm):
  """An arm that learns tasks one after the other."""

  programs = Program


def updates(config: Any) -> int:
  """Returns the updates of each task.

  Raises:
    ValueError: if updates cannot be divided equally, or tasks do not end with a
      chunk.
  """
  per_task, rest = divmod(config.num_updates, config.tasks)
  if rest or per_task % config.updates_per_chunk:
    multiple = config.tasks * config.updates_per_chunk
    expected = f"a multiple of {multiple}, chunks of all tasks"
    raise validate.error("num_updates", config.num_updates, expected)
  return per_task


def kept(
  problem: task_learner.Learner, variables: dict[str, Any]
) -> dict[str, int]:
  """Returns the bytes and exemplars that one seed keeps between tasks.

  Args:
    problem: the learner.
    variables: variables of all seeds.

  Returns:
    "bytes" of parameters, statistics and exemplars; "exemplars", their number.
    Excludes optimizer states, which are fresh in each task, and the record of
    accuracies.
  """
  held = {
    name: variables[name] for name in task_learner.KEPT if name in variables
  }
  (seeds,) = variables["record"]["now"].shape
  size, count = exemplars.num_bytes(held) // seeds, problem.size
  if isinstance(problem, methods.Joint):
    examples = problem.stream.train
    count = len(examples.targets)
    size += count + problem.store(examples.inputs).nbytes
  return {"bytes": size, "exemplars": count}
