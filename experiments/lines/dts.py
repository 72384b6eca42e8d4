"""Disentangled codes of time series, by any method and with any backbone."""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import Literal

from jaxseq import _validate
from jaxseq import data
from jaxseq.dts import code_report
from jaxseq.dts import downstream
from jaxseq.dts import dts_arms
from jaxseq.dts import probes
from jaxseq.dts import problem
from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.devices import processes


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
    evaluated: at most so many test windows are evaluated.
    trees: of DCI's boosting, which takes half a minute for each model; 0 leaves
      DCI out, and the other metrics that scikit-learn learns.
    prefix_rate: see `dts.problem.ArmConfig`.
    downstream: tasks for the codes of trained models, of `downstream.TASKS`.
    labeled: training windows with labels for the task "classify".
    metric: what the progress bar and the learning curve show, of validation
      windows if there are some; it tells when to stop early, too.
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
    _validate.fields(self, positive=("labeled",), not_negative=("trees",))
    if self.metric == "test_accuracy" and self.adaptation is None:
      expected = "another one: it needs adaptation"
      raise _validate.error("metric", self.metric, expected)


def arm_configs(config: Config) -> dict[str, problem.ArmConfig]:
  """Returns the whole configuration of every arm.

  Raises:
    UserError: (a ValueError) a field is unknown or has a wrong value.
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


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""
  if predict_mode.predicts(program):
    return
  with program.setup() as config:
    configs = arm_configs(config)
    if config.adaptation is not None or config.trees:
      # Needed after the training: better missed before.
      probes.require()
    splits = data.load(config.data, **config.data_options)
    downstream.check(config.downstream, splits)
    made = dts_arms.make_arms(
      configs,
      splits,
      num_updates=config.num_updates,
      metric=config.metric,
      trees=config.trees,
      downstream_tasks=config.downstream,
      labeled=config.labeled,
      early_stopping=config.early_stopping,
    )
    directory = program.open_directory(config)
  results = report.main(
    config,
    directory,
    made,
    program.mode,
    title=f"{config.data}: nats per test window",
    subject=config.data,
    columns=dts_arms.COLUMNS,
    baselines=downstream.baselines(
      config.downstream,
      splits,
      evaluated=config.evaluated,
      labeled=config.labeled,
    ),
    each=run_models.writer(
      program,
      config,
      directory,
      "codes",
      made,
      splits,
      select=lambda variables, seed: problem.models(variables)[seed],
    ),
  )
  if processes.is_first():
    code_report.show_details(results)
    if program.mode == "train":
      code_report.comparison(directory, results)
