"""Training on planned batches: updates, evaluations, reports of plans.

    state = planned.init(problem, optimizer, seed)
    run_chunk = planned.make_chunk(problem, optimizer)
    state, metrics = run_chunk(state, count)          # as `loop.run` wants it

An update is some programs, one for each wave of its plan, and one for the
optimizer. The host plans the next update while the devices work on the last
one. With several processes each of them makes the same plans.
"""

from collections.abc import Callable
from collections.abc import Sequence
import math
from typing import NamedTuple
from typing import Protocol

import jax
import numpy as np
import optax

from jaxseq.planner import mixed_lengths
from jaxseq.planner import rows
from jaxseq.training import optimizers
from jaxseq.training.devices import device_mesh
from jaxseq.types import PyTree

# Of chunk sizes, and of the degrees 1, 2, 4, ...
MAX_LEVELS = 8
_MAX_DEGREES = 16


class Step(NamedTuple):
  """A planned batch.

  Attributes:
    batch: its arrays.
    programs: (degree, level of the chunk size) of each wave.
    gap: of the plan to its lower bound.
  """

  batch: rows.Batch
  programs: list[tuple[int, int]]
  gap: float


class Problem(Protocol):
  """A model and planned batches.

  Attributes:
    devices: the devices that share the work, in the order of the plan.
  """

  devices: tuple[jax.Device, ...]

  def init(self, key: jax.Array) -> PyTree:
    """Returns the variables, a dict with "params"."""

  @property
  def token_loss(self) -> mixed_lengths.TokenLoss:
    """See `mixed_lengths.make_loss_and_grad`; in nats."""

  def make_step(self, update: int) -> Step:
    """Returns the batch of the update after so many."""

  def valid(self) -> Sequence[rows.Batch]:
    """Returns batches to evaluate on."""

  def test(self) -> Sequence[rows.Batch]:
    """Returns batches to report."""


class State(NamedTuple):
  """State of training.

  Attributes:
    variables: of the model, whole on every device.
    opt_state: of the optimizer, whole on every device.
    programs: (degrees, levels) bool, which programs have been needed, on the
      host.
    update: number of updates made, () int64 on the host.
  """

  variables: PyTree
  opt_state: PyTree
  programs: np.ndarray
  update: np.ndarray


def init(
  problem: Problem, optimizer: optax.GradientTransformation, seed: int
) -> State:
  """Returns the state before the first update, on all devices."""

  def make():
    variables = dict(problem.init(jax.random.key(seed)))
    return variables, optimizer.init({"params": variables["params"]})

  variables, opt_state = jax.jit(make, out_shardings=_whole(problem))()
  programs = np.zeros((_MAX_DEGREES, MAX_LEVELS), bool)
  return State(variables, opt_state, programs, np.zeros((), np.int64))


def make_chunk(
  problem: Problem,
  optimizer: optax.GradientTransformation,
  *,
  skip_nonfinite: bool = False,
) -> Callable[[State, int], tuple[State, dict[str, np.ndarray]]]:
  """Returns the function that makes a number of updates.

  With `skip_nonfinite` see `optimizers.step`, whose metrics there are too.

  Returns:
    (state, count) -> the state and metrics, (count,) each:
      train_bits_per_token: of the update's documents, before it.
      grad_norm: before it is clipped.
      tokens: targets of the update.
      waves: programs that its plan runs, one after the other.
      padding: share of padding among the computed tokens.
      plan_gap: modeled time of the plan over its lower bound, less 1.
      programs: different ones that the run has needed so far.
  """
  loss_and_grad = mixed_lengths.make_loss_and_grad(
    problem.token_loss, problem.devices
  )

  def improve(variables, opt_state, gradients):
    trained = {"params": variables["params"]}
    gradients = {"params": gradients["params"]}
    trained, opt_state, skipped = optimizers.step(
      optimizer, gradients, opt_state, trained, skip_nonfinite=skip_nonfinite
    )
    return (
      trained,
      opt_state,
      {"grad_norm": optax.tree.norm(gradients), **skipped},
    )

  improve = jax.jit(
    improve, donate_argnums=(1, 2), out_shardings=_whole(problem)
  )

  def run_chunk(state, count):
    rows_of_updates = []
    programs = state.programs.copy()
    variables, opt_state = state.variables, state.opt_state
    for update in range(int(state.update), int(state.update) + count):
      step = problem.make_step(update)
      loss, gradients = loss_and_grad(variables, step.batch)
      variables, opt_state, changed = improve(variables, opt_state, gradients)
      for degree, level in step.programs:
        programs[degree.bit_length() - 1, level] = True
      rows_of_updates.append(
        {
          "train_bits_per_token": loss / math.log(2),
          **changed,
          "tokens": step.batch.num_targets,
          "waves": len(step.batch.keys),
          "padding": step.batch.padding,
          "plan_gap": step.gap,
          "programs": int(programs.sum()),
        }
      )
    metrics = jax.tree.map(
      lambda *x: np.array(x), *jax.device_get(rows_of_updates)
    )
    done = np.asarray(state.update + count, np.int64)
    return State(variables, opt_state, programs, done), metrics

  return run_chunk


def make_evaluate(
  problem: Problem,
) -> Callable[[PyTree, Sequence[rows.Batch]], float]:
  """Returns the function that scores batches, in bits per target."""
  loss = mixed_lengths.make_loss(problem.token_loss, problem.devices)

  def evaluate(variables, batches):
    nats = jax.device_get([loss(variables, batch) for batch in batches])
    counts = [batch.num_targets for batch in batches]
    return float(np.average(nats, weights=counts)) / math.log(2)

  return evaluate


def _whole(problem):
  return device_mesh.whole(mixed_lengths.make_mesh(1, problem.devices))
