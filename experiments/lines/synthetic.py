"""Tasks sampled without end, which show the limits of mixers."""

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
from typing import Any

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.data import tokens
from jaxseq.interop import network_file
from jaxseq.models import run_models
from jaxseq.tasks import base
from jaxseq.tasks import budget
from jaxseq.tasks import synthetic
from jaxseq.training import tables
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.devices import processes


@dataclasses.dataclass(frozen=True)
class Config(base.Comparison):
  """A comparison of networks on one task.

  Attributes:
    task: name of the task in `jaxseq.data.tokens`.
    task_options: of the task.
    test_options: further tests after the training: by label, the options of the
      task that differ.
    test_batches: batches of an evaluation.
    further_batch_size: sequences at once in the further tests.
    further_batches: how many batches each of them has.
  """

  _: dataclasses.KW_ONLY
  task: str
  task_options: arms.Fields = arms.EMPTY
  test_options: Mapping[str, Mapping[str, Any]] = arms.EMPTY
  test_batches: int = 16
  further_batch_size: int = 8
  further_batches: int = 8

  def __post_init__(self):
    super().__post_init__()
    _validate.fields(
      self, positive=("test_batches", "further_batch_size", "further_batches")
    )
    for options in ({}, *self.test_options.values()):
      tokens.make_config(self.task, **{**self.task_options, **options})


def make_arms(config: Config) -> dict[str, supervised_arms.Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong.
  """
  signals = synthetic.chance(config.task, config.task_options) is None
  made = {}
  for name in config.arms:
    arm = base.arm_config(config, name, synthetic.ArmConfig)
    problem = synthetic.Problem(
      arm, config.task, config.task_options, test_batches=config.test_batches
    )
    made[name] = base.make_arm(
      config,
      arm,
      problem,
      "test_loss" if signals else "accuracy",
      "tokens",
      examples=arm.batch_size * problem.time,
      more=functools.partial(test_further, config, arm),
    )
  return made


def test_further(
  config: Config,
  arm: synthetic.ArmConfig,
  program: supervised_arms.Program,
  variables: PyTree,
  *unused: Any,
) -> dict[str, Any]:
  """Returns the size of the state, and the metrics under `test_options`."""

  def measure(options):
    return program.measure(
      lambda variables: synthetic.accuracy_at(
        arm,
        config.task,
        {**config.task_options, **options},
        variables,
        config.further_batch_size,
        config.further_batches,
      ),
      variables,
    )

  found = {name: measure(x) for name, x in config.test_options.items()}
  sizes = {"state_bytes": budget.state_bytes(arm.network)}
  return sizes | ({"further": found} if found else {})


def save_network(
  directory: pathlib.Path,
  made: Mapping[str, supervised_arms.Arm],
  name: str,
  variables: PyTree,
  about: Mapping[str, Any],
) -> None:
  """Writes the network of an arm, which `network_file.load` reads."""
  del about
  path = directory / name / "network.safetensors"
  network_file.save(path, made[name].problem.network, variables)


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""
  with program.setup() as config:
    made = make_arms(config)
    directory = program.open_directory(config)
  each = networks = run_models.saver(
    program, config, functools.partial(save_network, directory, made)
  )
  if synthetic.chance(config.task, config.task_options) is None:
    columns = {"test_loss": "mean squared error"}
  else:
    models = run_models.writer(
      program,
      config,
      directory,
      "classification",
      made,
      next(iter(made.values())).problem.splits(),
    )

    def each(name, *trained):
      # What a model file predicts, it reads once.
      once = made[name].problem.arm.reads == "once"
      (models if once else networks)(name, *trained)

    columns = {"accuracy": "accuracy", "solved": "whole sequences"}
  columns["state_bytes"] = "state (bytes)"
  results = program.compare(
    config, made, directory, title=config.task, columns=columns, each=each
  )
  if config.test_options and processes.is_first():
    metric = next(iter(columns))
    labels = tables.natural_order(config.test_options)
    tables.show(
      ["arm", *labels],
      [
        [name, *(tables.mean_std(x["further"][k][metric]) for k in labels)]
        for name, x in results.items()
      ],
      title=f"{config.task}, {columns[metric]} under other options",
    )
