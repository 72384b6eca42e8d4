"""Arms of supervised comparisons: problems, trained by gradient."""

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Sequence
import dataclasses
import functools
import math
import pathlib
from typing import Any
from typing import ClassVar
from typing import Literal

import jax
import numpy as np
import optax

from jaxseq import validate
from jaxseq.training import _early_stopping
from jaxseq.training import feeding
from jaxseq.training import per_seed
from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import seed_program
from jaxseq.training.comparison import stacked
from jaxseq.training.devices import placement
from jaxseq.types import PyTree

# The field of a state that has an axis of examples.
_EXAMPLES = "carry"


@dataclasses.dataclass(frozen=True)
class Supervised(arms.Arms):
  """The configuration that supervised experiments have in common.

  Attributes:
    num_updates: of each run.
    chunks_per_evaluation: chunks between two evaluations.
    early_stopping: evaluations without improvement on the validation part after
      which a seed stops; its best variables there are measured. 0 trains to the
      end, and measures the last variables. None is a few evaluations if there
      is a validation part that is large enough, and else 0.
  """

  _: dataclasses.KW_ONLY
  num_updates: int = 1000
  updates_per_chunk: int = 50
  chunks_per_evaluation: int = 2
  early_stopping: int | None = 0

  def __post_init__(self):
    super().__post_init__()
    validate.fields(self, positive=("num_updates", "chunks_per_evaluation"))
    if self.early_stopping is not None:
      validate.integer("early_stopping", self.early_stopping, 0)


def _train(arm, skip_nonfinite, state, data, *rest):
  """Updates of one seed; a rate that is traced stands before their count."""
  *rate, count = rest
  optimizer = arm.optimizer_at(*rate) if rate else arm.optimizer
  return supervised.train(
    arm.problem, optimizer, state, data, count, skip_nonfinite=skip_nonfinite
  )


class Program(seed_program.SeedProgram):
  """The seeds of a supervised arm, or of several arms side by side.

  Args:
    config: the comparison.
    group: the arms; what they differ in is the problems' `carry`.

  Attributes:
    problem: of the first of them.
  """

  losses = ("loss", "grad_norm")

  def __init__(self, config: Supervised, group: Sequence["Arm"]):
    first = group[0]
    super().__init__(
      config,
      functools.partial(supervised.init, first.problem, first.optimizer),
      functools.partial(_train, first, config.on_nonfinite == "skip"),
      placement.keys(config.mesh, config.seed, config.num_seeds),
      examples=_EXAMPLES,
      num_updates=config.num_updates,
      data=first.data,
      start=int(getattr(first.problem, "starts_from_data", False)),
      copies=len(group),
    )
    self.evaluate_every = config.chunks_per_evaluation
    self.rule = first.rule(config.early_stopping)
    self._feed: feeding.Feed | None = None
    source = getattr(first.problem, "source", None)
    if source is not None:
      self._feed = feeding.Feed(
        source,
        config.mesh,
        config.num_seeds,
        config.updates_per_chunk,
        config.num_updates,
      )
    self._group = group
    self.problem = first.problem
    self._validate = self.compile(first.problem.validate, shared=1)
    self._evaluate = self._validate
    functions = first.problem.evaluate, first.problem.validate
    # Without a validation part both are measured on the same.
    if first.part == "validation" and functions[0] != functions[1]:
      self._evaluate = self.compile(first.problem.evaluate, shared=1)

  def on(self, keys: jax.Array, data: tuple[Any, ...]) -> "Program":
    """Returns the same program with other keys and data, see `SeedProgram`."""
    other = super().on(keys, data)
    other.__dict__.pop("_measured_data", None)
    return other

  @functools.cached_property
  def _measured_data(self):
    """The data of evaluations, which are of one arm at a time."""
    if len(self._group) == 1:
      return self._data[0]
    return self.share(self._group[0].problem.data)

  def init(self) -> supervised.State:
    """Returns the states of all seeds, of arm after arm."""
    state = super().init()
    if len(self._group) > 1:
      state = stacked.tile(state, [arm.problem.carry for arm in self._group])
    return state if self.rule is None else self.rule.initial(state)

  def template(self) -> supervised.State:
    """Returns the shapes of all seeds' states, placed as they are trained."""
    shapes = super().template()
    return shapes if self.rule is None else self.rule.template(shapes)

  def chunk(
    self, state: supervised.State, count: int
  ) -> tuple[supervised.State, PyTree]:
    """Makes a number of updates of all seeds; the states are donated."""
    best = state.best
    state, metrics = super().chunk(state._replace(best=None), count)
    return state._replace(best=best), metrics

  def arguments(self, state: supervised.State, count: int) -> tuple[Any, ...]:
    """Returns the data, with the batches of a chunk if the host makes them."""
    if self._feed is None:
      return self._data
    self._feed.check(state.carry)
    data, *rest = self._data
    first = int(jax.device_get(state.update)[0])
    return ({**data, "batches": self._feed.take(first, count)}, *rest)

  def close(self) -> None:
    """Ends the thread that makes batches, if there is one."""
    if self._feed is not None:
      self._feed.close()

  def broken(self, state: supervised.State) -> jax.Array:
    """Returns `finite.flags` of the variables of all seeds (runs, leaves)."""
    return super().broken(state._replace(best=None))

  def evaluate(self, state: supervised.State) -> Any:
    """Returns the metrics by which training is watched, of `Problem.validate`.

    Args:
      state: of all arms, or of one of them.
    """
    metrics = self._measure(self._validate, state)
    return {k: x for k, x in metrics.items() if k != supervised.TALLIES}

  def test(self, state: supervised.State) -> Any:
    """Returns the metrics of what has been trained, of `Problem.evaluate`."""
    return self._measure(self._evaluate, state)

  def _measure(self, compiled, state):
    # Arm by arm: evaluations take more memory than updates.
    count = state.update.shape[0] // self.config.num_seeds
    parts = [
      jax.device_get(compiled(part, self._measured_data))
      for part in stacked.split(state.variables, count)
    ]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

  def measure(
    self, function: Callable, variables: PyTree, *data: object
  ) -> Any:
    """Returns what a function says of all seeds, as lists over them.

    Args:
      function: of the variables of one seed, and of data that all seeds share.
      variables: of all seeds.
      *data: the data, each of them a pytree of arrays.
    """
    score = self.compile(function, shared=len(data))
    return per_seed.of(score(variables, *map(self.share, data)))


# What an arm reports beside its metrics: (program, variables of all seeds,
# directory of the arm, whether it has just been trained) -> results.
More = Callable[[Program, Any, pathlib.Path, bool], dict[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Arm:
  """An arm of a supervised comparison, ready to be trained.

  Attributes:
    problem: what to train.
    optimizer: how.
    metric: name of the metric that the progress bar and the plot show; one of
      those that `problem.validate` returns.
    examples: number of examples, or tokens, of one update, for the speed.
    unit: what they are.
    stack: arms that have the same one, and not None, are trained side by side
      as one program, unless there is a mesh. Their problems and optimizers must
      differ in `problem.carry` alone.
    more: what the arm reports beside its metrics; nothing if None.
    part: of the data that `metric` is of, see `arms.Arm`.
    better: whether higher or lower is better; None if neither is.
    rate: peak learning rate that is an argument of the program, which then is
      the same for any; None where it is a part of `optimizer`.
    optimizer_at: from such a rate, traced, to the optimizer.
    figures: from the `supervised.TALLIES` of `problem.evaluate`, with an axis
      of seeds in front, to results; None without tallies.
  """

  problem: supervised.Problem
  optimizer: optax.GradientTransformation
  metric: str
  examples: int
  unit: str = "examples"
  stack: Hashable | None = None
  more: More | None = None
  part: arms.Part = "test"
  better: Literal["higher", "lower"] | None = None
  figures: Callable[[Any], dict[str, Any]] | None = None
  rate: float | None = None
  optimizer_at: Callable[[Any], optax.GradientTransformation] | None = None
  # What trains arms of this class.
  programs: ClassVar[type[Program]] = Program

  @property
  def data(self) -> tuple[Any, ...]:
    """The problem's data, and the rate if it is traced."""
    if self.rate is None:
      return (self.problem.data,)
    rate = np.asarray(self.rate, jax.dtypes.canonicalize_dtype(float))
    return self.problem.data, rate

  def rule(self, patience: int | None) -> _early_stopping.Rule | None:
    """Returns the rule of early stopping after so many evaluations.

    Args:
      patience: see `Supervised`; without any there is no rule.

    Raises:
      ValueError: the arm has no validation part, or its metric no direction.
    """
    wrong = ""
    if self.part != "validation":
      wrong = "there is no validation part that could tell"
    elif self.better is None:
      wrong = f"neither a higher nor a lower {self.metric} is better"
    if patience == 0 or (wrong and patience is None):
      return None
    if wrong:
      raise validate.error("early_stopping", patience, f"0, as {wrong}")
    return _early_stopping.Rule(
      self.metric,
      self.better == "higher",
      _early_stopping.PATIENCE if patience is None else patience,
      automatic=patience is None,
    )

  def program(
    self, config: Supervised, beside: Sequence["Arm"] = ()
  ) -> Program:
    """Returns what trains the arm, and others of its stack beside it."""
    return self.programs(config, [self, *beside])

  def report(
    self,
    program: Program,
    state: supervised.State,
    directory: pathlib.Path,
    seconds: float | None = None,
  ) -> dict[str, Any]:
    """Measures the trained variables, see `arms.Arm`.

    Returns:
      "seconds", compilation included, if it was trained here, of arms side by
      side those of all together; "parameters" of a seed; "updates_per_second",
      the median over chunks; what `more` returns; the metrics of
      `problem.evaluate`, a list over seeds each; and which "variables" these
      are of, if of the best with "best_update", their update for each seed.
    """
    more = {}
    if self.more is not None:
      trained = seconds is not None
      more = self.more(program, state.variables, directory, trained)
    tested = dict(program.test(state))
    tallies = tested.pop(supervised.TALLIES, None)
    if self.figures is not None:
      more |= self.figures(tallies)
    return {
      **({} if seconds is None else {"seconds": seconds}),
      "parameters": num_parameters(state.variables["params"]),
      "updates_per_second": curves.speed(directory),
      **per_seed.of(tested),
      **more,
      **_measured(program.rule, state),
    }


def _measured(rule, state):
  """Says which variables of a state are measured, and why."""
  if state.best is None:
    return {"variables": "last"}
  best = jax.device_get(state.best)
  done = int(jax.device_get(state.update).max())
  updates = ", ".join(f"{x:,}" for x in best.update.tolist())
  scores = ", ".join(f"{x:.4g}" for x in best.score.tolist())
  said = f"{rule.metric} was best, {scores}, after update {updates}"
  if best.update.min() < done:
    word = "fell" if rule.higher else "rose"
    said += f", and {word} until update {done:,}"
  return {
    "variables": "best on validation",
    "best_update": per_seed.of(best.update),
    "kept": f"{said}: the best variables are kept",
  }


def num_parameters(parameters: PyTree) -> int:
  """Counts the parameters of one seed in a pytree of those of all seeds."""
  leaves = jax.tree.leaves(parameters)
  return sum(math.prod(np.shape(leaf)[1:]) for leaf in leaves)
