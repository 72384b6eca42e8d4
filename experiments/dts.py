r"""Disentangled codes of time series, by any method and with any backbone.

    python -m experiments.dts --config=configs/dts/quick.py --workdir=DIR
    python -m experiments.dts --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (a method, or a backbone), all
seeds as one program, which arms that differ in the objective's weights alone
share, and resumes where an earlier run stopped. It ends with a
table and `DIR/results.json`; with the pictures `learning_curve.png`,
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
that option on a run that is complete writes them to its files, too.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import Literal

import ml_collections

from jaxseq import data
from jaxseq.dts import downstream
from jaxseq.dts import probes
from jaxseq.dts import problem as problem_lib
from jaxseq.dts import report
from jaxseq.training import app
from jaxseq.training import errors
from jaxseq.training.comparison import arms as arms_lib
from jaxseq.training.comparison import study
from jaxseq.training.devices import device_mesh
from jaxseq.training.devices import processes
from jaxseq.training.devices import seeds

_CONFIG, _WORKDIR = app.define_flags()
_MESH = app.define_mesh()
_MODE = app.define_mode()

_EMPTY = ml_collections.FrozenConfigDict()
# What is done with trained models.
MAY_CHANGE = ("trees", "downstream", "labelled")


@dataclasses.dataclass(frozen=True)
class Config(study.Supervised):
  """A comparison of methods on one set of windows.

  Attributes:
    data: name of the data set in `jaxseq.data`.
    data_options: options of its loader.
    model: fields of `dts.model.ModelConfig` that all arms share.
    objective: fields of `dts.objective.Config` that all arms share.
    optimizer: fields of `recipes.Recipe` that all arms share.
    adaptation: fields of `dts.adaptation.Config`; None without domains.
    aggressive: see `dts.problem.ArmConfig`.
    elbo_weight: see `dts.problem.ArmConfig`.
    batch_size: windows per update.
    evaluated: at most so many test windows are evaluated.
    trees: of DCI's boosting, which takes half a minute for each model; 0 leaves
      DCI out, and the other metrics that scikit-learn learns.
    prefix_rate: see `dts.problem.ArmConfig`.
    downstream: tasks for the codes of trained models, of `downstream.TASKS`.
    labeled: training windows with labels for the task "classify".
    metric: what the progress bar and the learning curve show.
  """

  _: dataclasses.KW_ONLY
  data: str
  data_options: Mapping[str, Any] = _EMPTY
  model: Mapping[str, Any] = _EMPTY
  objective: Mapping[str, Any] = _EMPTY
  optimizer: Mapping[str, Any] = _EMPTY
  adaptation: Mapping[str, Any] | None = None
  aggressive: bool = False
  elbo_weight: float = 1.0
  batch_size: int = 128
  evaluated: int = 4096
  trees: int = 0
  prefix_rate: float = 0.0
  downstream: tuple[str, ...] = ()
  labeled: int = 1000
  metric: Literal["nll", "neg_elbo", "kl", "mi", "gap", "test_accuracy"] = "nll"

  def __post_init__(self):
    super().__post_init__()
    if self.trees < 0:
      raise ValueError(f"trees: got {self.trees}, expected 0 or more.")
    self.check_positive("labelled")
    if self.metric == "test_accuracy" and self.adaptation is None:
      raise ValueError("metric: 'test_accuracy' needs adaptation; got None.")


def arm_configs(config: Config) -> dict[str, problem_lib.ArmConfig]:
  """Returns the whole configuration of every arm.

  Raises:
    UserError: (a ValueError) a field is unknown or has a wrong value.
  """
  shared = {
    "model": config.model.to_dict(),
    "objective": config.objective.to_dict(),
    # The fields of a recipe that the config leaves out are those of an arm.
    "optimizer": dataclasses.asdict(problem_lib.ArmConfig().optimizer)
    | config.optimizer.to_dict(),
    "aggressive": config.aggressive,
    "elbo_weight": config.elbo_weight,
    "batch_size": config.batch_size,
    "evaluated": config.evaluated,
    "prefix_rate": config.prefix_rate,
  }
  if config.adaptation is not None:
    shared["adaptation"] = config.adaptation.to_dict()
  arms = {
    name: device_mesh.split_time(
      config.mesh,
      arms_lib.merge(config, name, shared, problem_lib.ArmConfig),
    )
    for name in config.arms
  }
  for name, arm in arms.items():
    if (arm.adaptation is None) != (config.adaptation is None):
      raise ValueError(
        f"arms.{name}.adaptation: either all arms have it or none; set "
        "config.adaptation."
      )
  return arms


def _stacks(configs):
  """Returns a number that arms of one program share; None for one alone."""
  stacks = list(map(problem_lib.stack_of, configs.values()))
  return [
    stacks.index(stack) if stack and stacks.count(stack) > 1 else None
    for stack in stacks
  ]


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = study.parse(_CONFIG.value, Config, _MESH.value)
    configs = arm_configs(config)
    if config.adaptation is not None or config.trees:
      # Needed after the training: better missed before.
      probes.require()
    splits = data.load(config.data, **config.data_options)
    downstream.check(config.downstream, splits)
    arms = {
      name: study.Arm(
        problem_lib.make_problem(
          arm, splits, config.num_updates, traced_weights=stack is not None
        ),
        problem_lib.make_optimizer(arm, config.num_updates),
        metric=config.metric,
        examples=arm.batch_size,
        unit="windows",
        stack=stack,
      )
      for (name, arm), stack in zip(configs.items(), _stacks(configs))
    }
    directory = study.open_workdir(
      _WORKDIR.value, config, "dts", _MODE.value, MAY_CHANGE
    )
  run = study.run if _MODE.value == "train" else study.evaluate
  results = run(config, directory, arms)
  columns = {
    "nll": "nll",
    "kl": "kl",
    "mi": "mi",
    "tc": "tc",
    "dwkl": "dwkl",
    "gap": "gap",
    "active": "active",
  }
  if config.adaptation is not None:
    columns = {"valid_accuracy": "source", "test_accuracy": "target"} | columns
  draw = _MODE.value == "train" and processes.is_first()
  for name in results:
    arm = configs[name]
    _, variables = study.variables_of(config, directory, name, arms[name])
    scores = report.arm(
      arm,
      splits,
      variables,
      directory / name,
      trees=config.trees,
      draw=draw,
    )
    useful = downstream.scores(
      config.downstream,
      arm,
      splits,
      variables,
      directory / name,
      labeled=config.labeled,
      draw=draw,
    )
    results[name] |= scores | useful
    shown = (key for key in scores if key in report.SHORT)
    columns |= {key: key for key in (*shown, *useful)}
  study.finish(
    config,
    directory,
    arms,
    results,
    _MODE.value,
    title=f"{config.data}: nats per test window",
    columns=columns,
    baselines=downstream.baselines(
      config.downstream,
      splits,
      evaluated=config.evaluated,
      labeled=config.labeled,
    ),
  )
  report.show_details(results)
  if draw:
    report.comparison(
      directory, {name: results[name] for name in configs if name in results}
    )


if __name__ == "__main__":
  app.run_main(main)
