"""Arms of a comparison: their configuration, and the protocol of what trains.

An experiment compares arms, which differ in some fields of the configuration.
Each arm is trained in a sub-directory of its own, all its seeds as one program.
"""

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
import pkgutil
import re
from typing import Any
from typing import Literal
from typing import Protocol
from typing import TypeVar

import jax

from jaxseq import validate
from jaxseq.training import _early_stopping
from jaxseq.training import configuration
from jaxseq.training import finite
from jaxseq.training import run_directory
from jaxseq.training import scalars
from jaxseq.training.devices import device_mesh
from jaxseq.training.devices import placement
from jaxseq.types import PyTree

EMPTY, Fields = configuration.EMPTY, configuration.Fields
options = configuration.options
Part = Literal["validation", "test", ""]

_FREE = "may_change"


def free(default: Any) -> Any:
  """Returns a field that may change when a run is resumed.

  It is for what changes no trained number, such as how often files are written.
  """
  return dataclasses.field(default=default, metadata={_FREE: True})


@dataclasses.dataclass(frozen=True)
class Arms:
  """The configuration that all comparisons of arms have in common.

  Attributes:
    arms: for each arm, by name, the fields in which it differs; it is trained
      in the sub-directory of that name.
    seed: all random numbers come from it.
    num_seeds: independent runs of each arm.
    updates_per_chunk: updates between two returns to the host.
    chunks_per_checkpoint: chunks between two checkpoints.
    keep_checkpoints: how many of the newest checkpoints stay.
    tensorboard: whether to write event files as well.
    hooks: functions that are called with each row of the log, such as those of
      other loggers, as "package.module:name"; see `scalars.MetricWriter`.
    references: levels to draw as dashed lines in the plot, by label.
    on_nonfinite: reaction to a loss, a gradient or a parameter that is not
      finite: "stop", "skip" or "ignore", see `training.finite`.
    mesh: how devices share a run. Without one they take seeds each.
  """

  arms: Mapping[str, Mapping[str, Any]]
  seed: int = 0
  num_seeds: int = 2
  updates_per_chunk: int = 5
  chunks_per_checkpoint: int = 6
  keep_checkpoints: int = free(3)
  tensorboard: bool = free(True)
  hooks: tuple[str, ...] = free(())
  references: Mapping[str, float] = free(EMPTY)
  on_nonfinite: finite.Action = free("stop")
  mesh: device_mesh.MeshConfig = free(device_mesh.MeshConfig())

  def __post_init__(self):
    for name, value in vars(self).items():
      object.__setattr__(self, name, configuration.freeze(value))
    if not self.arms:
      raise validate.error("arms", {}, "at least one arm")
    for name, fields in self.arms.items():
      if not re.fullmatch(r"\w[\w.-]*", name):
        raise validate.error(
          "arms", name, "names that can be those of directories"
        )
      if not isinstance(fields, Mapping):
        expected = "a mapping of the fields in which it differs"
        raise validate.error(f"arms.{name}", fields, expected)
    validate.literals(self)
    validate.integer("seed", self.seed, 0, 2**31 - 1)
    validate.fields(
      self,
      positive=(
        "num_seeds",
        "updates_per_chunk",
        "chunks_per_checkpoint",
        "keep_checkpoints",
      ),
    )
    hooks(self)


def hooks(config: Arms) -> list[scalars.Hook]:
  """Returns the functions that a configuration's `hooks` name.

  Raises:
    ValueError: a name is not that of a function.
  """
  return [named_function("hooks", path) for path in config.hooks]


def named_function(field: str, path: str) -> Callable[..., Any]:
  """Returns the function that a field of a configuration names.

  Args:
    field: name of the field, for messages.
    path: "package.module:name".

  Raises:
    ValueError: there is no such module or function.
  """
  try:
    function = pkgutil.resolve_name(path)
  except (ImportError, AttributeError, ValueError) as error:
    expected = f'"package.module:name" of a function ({error})'
    raise validate.error(field, path, expected) from error
  if not callable(function):
    raise validate.error(field, path, "the name of a function")
  return function


class Program(Protocol):
  """The seeds of an arm in training, or of several arms side by side.

  Attributes:
    num_updates: of the whole run.
    steps_per_update: see `loop.run`.
    update_axis: see `loop.run`.
    evaluate_every: chunks between two calls of `evaluate`, None where it is
      never called.
    losses: names of the metrics that must be finite.
    hooks: functions that are called with each row of the log, beside those of
      the configuration.
    rule: of early stopping; None where every seed is trained to the end.
  """

  num_updates: int
  steps_per_update: int
  update_axis: int | None
  evaluate_every: int | None
  losses: Sequence[str]
  hooks: Sequence[scalars.Hook]
  rule: _early_stopping.Rule | None

  def init(self) -> PyTree:
    """Returns the states of all seeds before the first update."""

  def template(self) -> PyTree:
    """Returns the shapes of all seeds' states, placed as they are trained."""

  def chunk(self, state: PyTree, count: int) -> tuple[Any, Mapping[str, Any]]:
    """Makes updates; returns the states and metrics, see `loop.run`.

    Unless `on_nonfinite` is "ignore" the metrics have `broken` of the states
    under the name `finite.FLAGS`.
    """

  def close(self) -> None:
    """Ends what works beside the program, once it is trained or has failed."""

  def trained(self, state: PyTree) -> PyTree:
    """Returns the variables in a state."""

  def broken(self, state: PyTree) -> Any:
    """Returns `finite.flags` of the variables of all seeds (runs, leaves)."""

  def evaluate(self, state: PyTree) -> Mapping[str, Any]:
    """Returns metrics for the log, each with an axis of seeds."""


class Arm(Protocol):
  """An arm that can be trained; it costs little until `program` is called.

  Attributes:
    metric: that the progress bar shows, or names of several; the learning curve
      shows the first.
    part: of the data that this metric is of: "validation", or "test" where
      there is no validation part; "" where there are no parts.
    examples: number of examples of one step, for the speed.
    unit: what they are.
    stack: arms that have the same one, and not None, are trained side by side
      as one program, unless there is a mesh.
  """

  metric: str | tuple[str, ...]
  part: Part
  examples: int
  unit: str
  stack: Hashable | None

  def program(self, config: Any, beside: Sequence["Arm"] = ()) -> Program:
    """Returns what trains the arm, and others of its stack beside it."""

  def report(
    self,
    program: Program,
    state: PyTree,
    directory: pathlib.Path,
    seconds: float | None,
  ) -> dict[str, Any]:
    """Measures the trained variables.

    Args:
      program: that of the arm.
      state: of the arm's seeds.
      directory: of the arm.
      seconds: that the training took in this process; None if it is only
        evaluated.

    Returns:
      The arm's results: numbers, or lists of numbers over seeds.
    """


Config = TypeVar("Config", bound=Arms)


def chosen(
  config: Config,
  mesh: Sequence[str] = (),
  on_nonfinite: finite.Action | None = None,
  names: Sequence[str] = (),
) -> Config:
  """Returns the configuration as the flags of a program change it.

  Args:
    config: the comparison.
    mesh: value of `--mesh`.
    on_nonfinite: value of `--on_nonfinite`; None leaves that of the config.
    names: value of `--arms`, the arms that stay; all if empty.

  Raises:
    ValueError: an arm is chosen that the config does not have, or the mesh is
      wrong.
  """
  for name in names:
    validate.choice("--arms", name, tuple(config.arms))
  left = {k: x for k, x in config.arms.items() if not names or k in names}
  return dataclasses.replace(
    config,
    arms=left,
    mesh=device_mesh.parse(mesh, config.mesh),
    on_nonfinite=on_nonfinite or config.on_nonfinite,
  )


def open_directory(
  workdir: str, config: Arms, experiment: str, mode: str
) -> pathlib.Path:
  """Returns the directory of a run, made or (unless it trains) found.

  Args:
    workdir: the flag.
    config: the configuration.
    experiment: name of the experiment.
    mode: "train", or what else is done with a run.

  Raises:
    UserError: the directory is of something else, or there is nothing in it.
  """
  find = (
    run_directory.prepare if mode == "train" else run_directory.open_existing
  )
  free_fields = [
    field.name
    for field in dataclasses.fields(config)
    if field.metadata.get(_FREE)
  ]
  return find(workdir, config, experiment=experiment, may_change=free_fields)


def merge(
  config: Arms, arm: str, cls: type, shared: str = "", base: object = None
) -> Any:
  """Builds the whole configuration of one arm.

  Args:
    config: the comparison.
    arm: name of the arm.
    cls: dataclass of an arm's configuration.
    shared: name of the comparison's field with those that all arms have in
      common; "" where these are fields of the comparison itself.
    base: a `cls` with the fields that neither sets; the defaults if None.

  Returns:
    A `cls` of the shared fields, overridden by those of the arm, whose mixers
    split time if the mesh does.

  Raises:
    UserError: (a ValueError) a field is unknown or has a wrong value.
  """
  place = f"config.{shared}".rstrip(".")
  names = {field.name for field in dataclasses.fields(cls)}
  common = vars(config) if not shared else getattr(config, shared)
  if not shared:
    common = {k: x for k, x in common.items() if k in names}
  fields, name = config.arms[arm], f"config.arms.{arm}"
  merged = configuration.merged(common, fields)
  try:
    config_of_arm = configuration.from_config_dict(
      cls, merged, name=name, base=base
    )
  except configuration.FieldError as error:
    if not _has(fields, error.path.removeprefix(f"{name}.")):
      # The error names the place where it was written: the shared fields.
      configuration.from_config_dict(cls, merged, name=place, base=base)
    raise
  return device_mesh.split_time(config.mesh, config_of_arm)


def _has(fields, path):
  """Returns whether there is a field at a path with dots and [indices]."""
  for name in path.partition("[")[0].split("."):
    if not isinstance(fields, Mapping):
      return True
    if name not in fields:
      return False
    fields = fields[name]
  return True


def split_keys(config: Arms) -> tuple[jax.Array, jax.Array]:
  """Returns the seeds' keys for training and for evaluations, (num_seeds,)."""

  def split():
    keys = jax.random.split(jax.random.key(config.seed))
    return tuple(jax.random.split(key, config.num_seeds) for key in keys)

  return placement.create(config.mesh, split)
