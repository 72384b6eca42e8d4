"""Tasks: how arms are configured, built, monitored and shown.

    task = classification.TASK.of(splits)
    arms = task.arms(config, task.source(splits))
    ... title, columns=task.columns, kind=task.kind

The module of each task has it as `TASK`; all tasks share the program that
trains, evaluates and serves.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import Literal

import optax

from jaxseq import validate
from jaxseq.data import summaries
from jaxseq.tasks import base
from jaxseq.tasks import outputs as model_outputs
from jaxseq.tasks import sizes
from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.comparison import work


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnFiles:
  """Defaults of a task's comparison for the user's own files.

  What is not given follows from the size of the data, see `tasks.sizes`.

  Attributes:
    fields: fields of the comparison.
    by_data: further fields, by kind of data set.
    network: fields of the networks.
    stack: fields of their stacks; with a `d_model`, the size is fixed.
    mixers: mixers of the arms.
  """

  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  by_data: Mapping[str, Mapping[str, object]] = dataclasses.field(
    default_factory=dict
  )
  network: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  stack: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  mixers: tuple[str, ...] = ("s5", "gru")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """A task, as programs know it.

  A source is the data that problems are built from: the `data.Splits` of a data
  set, or the result of `source`, such as a text or the spans of a series.

  Attributes:
    name: name of the task.
    arm: class of an arm's configuration.
    problem: (arm, source, config) -> problem; `config` is the comparison, with
      the options that all arms share, such as the length of a chunk.
    metric: metric of `Problem.evaluate` that monitors training; that of the
      validation part has the prefix "valid_", if there are both. A problem's
      own `metric` takes precedence.
    better: whether higher or lower is better; None if neither is. A problem's
      own `better` takes precedence.
    unit: the kind of examples of an update.
    columns: results in the table, to their headings; the first one is the main
      result.
    kind: kind of the models that are saved, see `comparison.work`.
    title: title of the table, with the comparison's "subject" and the metric
      that is "watched".
    load: comparison -> splits, or the source if examples are sampled.
    source: splits -> source.
    splits: (loaded data, arms) -> splits, for models that are saved.
    adapt: (task, source) -> the task for these data: with the names of their
      classes in `figures`, or a column that only they have.
    optimizer: (arm, num_updates) -> optimizer of an arm.
    fit: (arm, source, config) -> the arm for these data.
    examples: (arm, problem) -> examples of one update, for the speed; the
      arm's batch size if None.
    more: (config, arm, source) -> additional results of an arm, a
      `supervised_arms.More`.
    outputs: outputs of its models, if there is such a kind.
    figures: from the tallies of an evaluation to results, see
      `supervised_arms.Arm`.
    baselines: (source, config, part) -> metrics of baselines without training,
      by label, of the part "test" or "valid".
    ylabel: name of the metric in the plot; its heading if None.
    count: source -> number of training targets, which `tasks.sizes` uses.
    sized: source -> further fields of the network that depend on the data.
    own_files: defaults of the comparison for the user's own files.
  """

  name: str
  arm: type[Any]
  problem: Callable[[Any, Any, Any], supervised.Problem]
  metric: str
  better: Literal["higher", "lower"] | None
  unit: str
  columns: Mapping[str, str]
  kind: str | None = None
  title: str = "{subject}: {watched} on the test set"
  load: Callable[[Any], Any] = lambda config: config.load()
  splits: Callable[[Any, Mapping[str, Any]], Any] = lambda splits, arms: splits
  source: Callable[[Any], Any] = lambda splits: splits
  adapt: Callable[["Task", Any], "Task"] = lambda task, source: task
  optimizer: Callable[[Any, int], optax.GradientTransformation] = (
    base.make_optimizer
  )
  fit: Callable[[Any, Any, Any], Any] = lambda arm, source, config: arm
  examples: Callable[[Any, Any], int] | None = None
  more: Callable[[Any, Any, Any], supervised_arms.More] | None = None
  outputs: model_outputs.Outputs | None = None
  figures: Callable[[Any], dict[str, Any]] | None = None
  baselines: Callable[[Any, Any, str], Mapping[str, Mapping[str, float]]] = (
    lambda source, config, part: {}
  )
  ylabel: str | None = None
  count: Callable[[Any], int] = sizes.elements
  sized: Callable[[Any], Mapping[str, Any]] = lambda source: {}
  own_files: OwnFiles = OwnFiles()

  def __post_init__(self):
    validate.literals(self)
    if not self.columns:
      raise validate.error("columns", self.columns, "at least one column")

  def of(self, source: Any) -> "Task":
    """Returns the task for some data, see `adapt`."""
    return self.adapt(self, source)

  def arm_config(
    self, config: base.Comparison, name: str, base: Any = None
  ) -> Any:
    """Returns the whole configuration of an arm, an `arm`.

    Args:
      config: the comparison.
      name: name of the arm.
      base: an `arm` with the fields that the comparison does not set; the
        defaults if None.

    Raises:
      UserError: (a ValueError) if a field is unknown or has a wrong value.
    """
    return arms.merge(config, name, self.arm, base=base)

  def _by_size(self, source):
    """The fields of an arm that depend on the size of the data."""
    count = self.count(source)
    size, more = sizes.of(count), dict(self.sized(source))
    print(sizes.described(count, size, more))
    base = self.arm()
    network = dataclasses.replace(
      base.network,
      stack=dataclasses.replace(base.network.stack, **size.fields()),
      **more,
    )
    optimizer = dataclasses.replace(
      base.optimizer, learning_rate=size.learning_rate
    )
    return dataclasses.replace(base, network=network, optimizer=optimizer)

  def make_arm(
    self,
    config: supervised_arms.Supervised,
    arm: Any,
    problem: supervised.Problem,
    source: Any = None,
    rate: float | None = None,
  ) -> supervised_arms.Arm:
    """Returns an arm that is ready to be trained on a problem.

    Args:
      config: the comparison.
      arm: configuration of the arm.
      problem: problem of the arm.
      source: data that the problem was built from, for `more`.
      rate: peak learning rate that replaces the arm's; the program is the same
        for any, see `supervised_arms.Arm`.

    Raises:
      ValueError: if early stopping is requested without a basis for it.
    """
    options: dict[str, Any] = {"examples": arm.batch_size}
    if self.examples is not None:
      options["examples"] = self.examples(arm, problem)
    if self.more is not None:
      options["more"] = self.more(config, arm, source)
    if rate is not None:
      options["rate"] = rate
      options["optimizer_at"] = lambda rate: self.optimizer(
        dataclasses.replace(
          arm,
          optimizer=dataclasses.replace(arm.optimizer, learning_rate=rate),
        ),
        config.num_updates,
      )
    metric = self._watched(problem)
    # A problem may have its own training.
    ready = getattr(problem, "make_arm", supervised_arms.Arm)(
      problem,
      self.optimizer(arm, config.num_updates),
      getattr(problem, "watched", lambda name: name)(metric),
      unit=self.unit,
      part=problem.part,
      better=getattr(problem, "better", None) or self.better,
      figures=self.figures,
      **options,
    )
    ready.rule(config.early_stopping)
    return ready

  def _watched(self, problem):
    """The metric that monitors training on a problem."""
    return getattr(problem, "metric", None) or self.metric

  def arms(
    self, config: base.Comparison, source: Any
  ) -> dict[str, supervised_arms.Arm]:
    """Builds every arm of a comparison.

    Args:
      config: the comparison.
      source: data that the problems are built from.

    Raises:
      ValueError: if an option is wrong, or the data do not fit this task.
    """
    task = self.of(source)
    arms, sized = {}, None
    if getattr(config, "by_size", False):
      sized = task._by_size(source)
    for name in config.arms:
      arm = task.fit(task.arm_config(config, name, sized), source, config)
      problem = task.problem(arm, source, config)
      arms[name] = task.make_arm(config, arm, problem, source)
    return arms

  def work(self, config: Any) -> work.Work:
    """Returns what a program trains, shows and saves for a comparison.

    Raises:
      ValueError: see `arms`.
    """
    for name in config.arms:  # A slip is named before data are read.
      self.arm_config(config, name)
    splits = self.load(config)
    source = self.source(splits)
    task = self.of(source)
    arms = task.arms(config, source)
    watched = next(iter(task.columns.values()))
    levels = task.baselines(source, config, "valid")
    metric = task._watched(next(iter(arms.values())).problem)
    options = {
      "title": task.title.format(subject=config.subject, watched=watched),
      "subject": config.subject,
      "columns": task.columns,
      "ylabel": task.ylabel,
      "read": summaries.of_splits(splits),
      "baselines": task.baselines(source, config, "test"),
      "levels": {
        name: values[metric]
        for name, values in levels.items()
        if metric in values
      },
    }
    return work.Work(
      arms=arms,
      options=options,
      kind=task.kind,
      splits=task.splits(splits, arms),
    )
