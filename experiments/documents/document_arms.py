"""Arms trained on planned batches of documents."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any
from typing import ClassVar

import jax
import numpy as np
import optax

from experiments.documents import documents
from jaxseq.planner import planned
from jaxseq.tasks import base
from jaxseq.tasks import language
from jaxseq.training import errors
from jaxseq.training import finite
from jaxseq.training import per_seed
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.comparison import work as works
from jaxseq.types import PyTree

METRIC = "bits_per_token"
Config = documents.Config


class Program:
  """The program of an arm with one seed; the host plans its batches."""

  steps_per_update = 1
  update_axis = 0
  losses = ("train_bits_per_token", "grad_norm")
  hooks = ()
  rule = None

  def __init__(self, config: supervised_arms.Supervised, arm: "Arm"):
    self.num_updates = config.num_updates
    self.evaluate_every = config.chunks_per_evaluation
    self._seed = config.seed
    self._arm = arm
    self._score = planned.make_evaluate(arm.problem)
    self._on_nonfinite = config.on_nonfinite
    self._flags = jax.jit(lambda tree: finite.flags(tree)[None])

  def init(self) -> planned.State:
    """Returns the state before the first update, on all devices."""
    return planned.init(self._arm.problem, self._arm.optimizer, self._seed)

  # A state on its devices is a template, too.
  template = init

  @functools.cached_property
  def _update(self):
    return planned.make_chunk(
      self._arm.problem,
      self._arm.optimizer,
      skip_nonfinite=self._on_nonfinite == "skip",
    )

  def chunk(
    self, state: planned.State, count: int
  ) -> tuple[planned.State, dict[str, Any]]:
    """Runs a number of updates, see `planned.make_chunk`."""
    state, metrics = self._update(state, count)
    if self._on_nonfinite != "ignore":
      metrics[finite.FLAGS] = self.broken(state)
    return state, metrics

  def close(self) -> None:
    """Does nothing: batches are planned in the calling thread."""

  def trained(self, state: planned.State) -> PyTree:
    """Returns the variables of a state."""
    return state.variables

  def broken(self, state: planned.State) -> jax.Array:
    """Returns `finite.flags` of the variables (1, leaves)."""
    return self._flags(state.variables)

  @functools.cached_property
  def _valid(self):
    return self._arm.problem.valid()

  def evaluate(self, state: planned.State) -> Mapping[str, float]:
    """Returns bits per byte on the validation documents."""
    return {METRIC: self._score(state.variables, self._valid)}

  def test(self, state: planned.State) -> float:
    """Returns bits per byte on all test documents."""
    return self._score(state.variables, self._arm.problem.test())


@dataclasses.dataclass(frozen=True, eq=False)
class Arm:
  """A network and its planned batches, ready to be trained.

  Attributes:
    problem: the problem.
    optimizer: its optimizer.
    examples: number of documents of an update.
  """

  problem: planned.Problem
  optimizer: optax.GradientTransformation
  examples: int

  metric: ClassVar[str] = METRIC
  part: ClassVar[arms.Part] = "validation"
  better: ClassVar[str] = "lower"
  unit: ClassVar[str] = "bytes"
  stack: ClassVar[None] = None

  def program(
    self, config: supervised_arms.Supervised, beside: Sequence["Arm"] = ()
  ) -> Program:
    """Returns the program that trains the arm."""
    del beside
    return Program(config, self)

  def report(
    self,
    program: Program,
    state: planned.State,
    directory: pathlib.Path,
    seconds: float | None = None,
  ) -> dict[str, Any]:
    """Measures the trained variables, see `comparison.arms.Arm`.

    Returns:
      "seconds" of training, if it was trained here; "parameters",
      "updates_per_second", "tokens_per_update" (the mean), "programs", and bits
      per byte: on the validation documents that evaluations read, and on all
      test documents.
    """
    _, tokens = curves.curve(directory, "tokens")
    return {
      **({} if seconds is None else {"seconds": seconds}),
      "parameters": sum(x.size for x in jax.tree.leaves(state.variables)),
      "updates_per_second": curves.speed(directory),
      "tokens_per_update": float(np.mean(tokens)),
      "programs": int(np.sum(state.programs)),
      METRIC: per_seed.PerSeed([program.evaluate(state)[METRIC]]),
      "test_bits": per_seed.PerSeed([program.test(state)]),
    }


def make_arms(config: Config, corpus: language.Corpus) -> dict[str, Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong.
  """
  arms_by_name = {}
  for name in config.arms:
    arm = arms.merge(config, name, base.ArmConfig)
    problem = documents.Problem(
      arm,
      corpus,
      config.plan,
      max_length=config.max_length,
      seed=config.seed,
      valid_tokens=config.valid_tokens,
      devices=choose_devices(config.devices),
    )
    optimizer = base.make_optimizer(arm, config.num_updates)
    arms_by_name[name] = Arm(problem, optimizer, arm.batch_size)
  return arms_by_name


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms; they have one seed, without an axis of seeds."""
  del program
  splits = config.load()
  options = {
    "title": f"{config.data}, bits per byte",
    "subject": config.data,
    "columns": {METRIC: "validation", "test_bits": "all test documents"},
    "ylabel": "bits per byte",
  }
  return works.Work(
    arms=make_arms(config, language.from_splits(splits)),
    options=options,
    kind="language",
    splits=splits,
    select=lambda variables, seed: variables,
  )


def choose_devices(count: int) -> list[jax.Device]:
  """Returns the devices that share the work.

  Args:
    count: number of devices; 0 for all of several processes, or the largest
      power of two of one process.

  Raises:
    UserError: (a ValueError) if there are not enough, they leave out a process,
      or their number is not a power of two.
  """
  devices = jax.devices()
  total = len(devices)
  if not count and jax.process_count() == 1:
    count = 1 << (total.bit_length() - 1)
  count = count or total
  if not 1 <= count <= total or count & (count - 1):
    raise errors.UserError(
      f"devices: got {count}, expected a power of two, at most the {total} "
      "that there are"
    )
  if jax.process_count() > 1 and count != total:
    raise errors.UserError(
      f"devices: got {count}, expected all {total}, as there are "
      f"{jax.process_count()} processes"
    )
  return devices[:count]
