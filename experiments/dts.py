r"""Disentangled codes of time series, by any method and with any backbone.

    python -m experiments.dts --config=configs/dts/quick.py --workdir=DIR
    python -m experiments.dts --config=... --workdir=DIR --mode=evaluate
    python -m experiments.dts --workdir=DIR --mode=predict \
      --arm=NAME --data=new.csv --output=codes.csv

The first command trains every arm of the config (a method, or a backbone), all
seeds as one program, which arms that differ in the objective's weights alone
share, and resumes where an earlier run stopped. It ends with a
table, `DIR/results.json` and the trained model of each arm,
`DIR/ARM/model.safetensors`; with the pictures `learning_curve.png`,
`information.png` (mutual information, total correlation and dimension-wise KL
over training) and, for each arm, `ARM/kl.png` (KL of each coordinate over
training) and `ARM/traversal.png` (what the decoder makes of a code in which one
coordinate moves). Where windows have known factors, a table of all metrics of
disentanglement follows, which `metrics.png` draws, and
`ARM/information_map.png` shows what each coordinate knows of each factor. Where
there are two domains, a table and `ARM/probes.json` say what each segment of
the code knows, and `ARM/swap.png` shows windows that are
decoded from the first segment of one and the second of another, of different
classes and domains. Traversals and swaps need windows of more than one time:
nothing is drawn of statistics, which are a single one.

With `config.downstream` the table shows what the codes are good for as well,
beside baselines without a model: "classify", "forecast" (`ARM/forecasts.png`)
and "anomaly" (`ARM/anomaly.png`), see `jaxseq.dts.downstream`. The second
command evaluates the newest checkpoints, also with more metrics than before:
`--config.trees=100` adds those that learn, such as DCI. The first command with
that option on a run that is complete writes them to its files, too. The third
command encodes the windows of a file.
"""

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
from jaxseq.training import app
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
  data_options: Mapping[str, Any] = arms.EMPTY
  model: Mapping[str, Any] = arms.EMPTY
  objective: Mapping[str, Any] = arms.EMPTY
  optimizer: Mapping[str, Any] = arms.EMPTY
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


_PROGRAM = experiment.Experiment("dts", Config, modes=predict_mode.MODES)
predict_mode.define_flags()


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


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  if predict_mode.predicts(_PROGRAM):
    return
  with _PROGRAM.setup() as config:
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
    directory = _PROGRAM.open_directory(config)
  results = report.main(
    config,
    directory,
    made,
    _PROGRAM.mode,
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
      _PROGRAM,
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
    if _PROGRAM.mode == "train":
      code_report.comparison(directory, results)


if __name__ == "__main__":
  app.run_main(main)
