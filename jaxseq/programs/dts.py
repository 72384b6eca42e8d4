"""Disentangled codes of time series, by any method and with any backbone."""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import Literal

from jaxseq import data
from jaxseq import validate
from jaxseq.dts import code_report
from jaxseq.dts import code_task
from jaxseq.dts import downstream
from jaxseq.dts import probes
from jaxseq.dts import problem
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes

# Table headings by result, for the results that are present.
COLUMNS = {
  "valid_accuracy": "source",
  "test_accuracy": "target",
  **{name: name for name in ("nll", "kl", "mi", "tc", "dwkl", "gap", "active")},
  **{name: name for name in (*code_report.SHORT, *downstream.SCORES)},
}


@dataclasses.dataclass(frozen=True)
class Config(supervised_arms.Supervised):
  """A comparison of methods on one set of windows.

  Attributes:
    data: name of the data set in `jaxseq.data`.
    data_options: options of its loader.
    model: fields of `dts.autoencoder.ModelConfig` that all arms share.
    objective: fields of `dts.methods.Config` that all arms share.
    optimizer: fields of `recipes.Recipe` that all arms share.
    adaptation: fields of `dts.domain_adaptation.Config`; None without domains.
    aggressive: see `dts.problem.ArmConfig`.
    elbo_weight: see `dts.problem.ArmConfig`.
    batch_size: windows per update.
    evaluated: largest number of test windows to evaluate.
    trees: trees of DCI's boosting, which takes half a minute per model; 0
      leaves out DCI and the other metrics that scikit-learn fits.
    prefix_rate: see `dts.problem.ArmConfig`.
    downstream: tasks for the codes of trained models, from `downstream.TASKS`.
    labeled: training windows with labels for the task "classify".
    metric: metric of the progress bar, the learning curve and early stopping,
      on validation windows if there are some.
  """

  _: dataclasses.KW_ONLY
  data: str
  data_options: arms.Fields = arms.options("data", data.registry.annotations)
  model: arms.Fields = arms.EMPTY
  objective: arms.Fields = arms.EMPTY
  optimizer: arms.Fields = arms.EMPTY
  adaptation: Mapping[str, Any] | None = None
  aggressive: bool = False
  elbo_weight: float = 1.0
  batch_size: int = 128
  evaluated: int = 4096
  trees: int = arms.free(0)
  prefix_rate: float = 0.0
  downstream: tuple[str, ...] = arms.free(())
  labeled: int = arms.free(1000)
  metric: Literal["nll", "neg_elbo", "kl", "mi", "gap", "test_accuracy"] = "nll"

  def __post_init__(self):
    super().__post_init__()
    validate.fields(self, positive=("labeled",), not_negative=("trees",))
    if self.metric == "test_accuracy" and self.adaptation is None:
      expected = "another one: it needs adaptation"
      raise validate.error("metric", self.metric, expected)


def arm_configs(config: Config) -> dict[str, problem.ArmConfig]:
  """Returns the whole configuration of every arm.

  Raises:
    UserError: (a ValueError) if a field is unknown or has a wrong value.
  """
  configs = {
    name: arms.merge(config, name, problem.ArmConfig) for name in config.arms
  }
  for name, arm in configs.items():
    if (arm.adaptation is None) != (config.adaptation is None):
      raise ValueError(
        f"arms.{name}.adaptation: either all arms have it or none; set "
        "config.adaptation."
      )
  return configs


def make_arms(
  config: Config, splits: data.Splits
) -> dict[str, supervised_arms.Arm]:
  """Builds every arm; arms that differ only in loss weights share a program.

  Raises:
    ValueError: if an option is wrong.
  """

  def more(config, arm, source):
    def scores(program, variables, directory, trained):
      del program
      draw = trained and processes.is_first()
      given = arm, source, variables, directory
      row = code_report.arm(*given, trees=config.trees, draw=draw)
      return row | downstream.scores(
        config.downstream, *given, labeled=config.labeled, draw=draw
      )

    return scores

  better = {"nll": "lower", "neg_elbo": "lower", "test_accuracy": "higher"}
  line = dataclasses.replace(
    code_task.TASK,
    metric=config.metric,
    better=better.get(config.metric),
    more=more,
  )
  configs = arm_configs(config)
  stacks = [problem.stack_of(arm) for arm in configs.values()]
  arms_by_name = {}
  for (name, arm), stack in zip(configs.items(), stacks):
    shared = stack is not None and stacks.count(stack) > 1
    windows = problem.Problem(
      arm, splits, config.num_updates, traced_weights=shared
    )
    arms_by_name[name] = dataclasses.replace(
      line.make_arm(config, arm, windows, splits),
      stack=stack if shared else None,
    )
  return arms_by_name


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, with tables and pictures of their codes."""
  arm_configs(config)
  if config.adaptation is not None or config.trees:
    # Needed after training: raise an error before it if absent.
    probes.require()
  splits = data.load(config.data, **config.data_options)
  downstream.check(config.downstream, splits)

  def show(directory, results):
    if processes.is_first():
      code_report.show_details(results)
      if program.mode == "train":
        code_report.comparison(directory, results)

  options = {
    "title": f"{config.data}: nats per test window",
    "subject": config.data,
    "columns": COLUMNS,
    "baselines": downstream.baselines(
      config.downstream,
      splits,
      evaluated=config.evaluated,
      labeled=config.labeled,
    ),
  }
  return works.Work(
    arms=make_arms(config, splits),
    options=options,
    kind="codes",
    splits=splits,
    select=lambda variables, seed: problem.models(variables)[seed],
    show=show,
  )
