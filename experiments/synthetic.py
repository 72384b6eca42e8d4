r"""What a mixer can learn and what it cannot: tasks sampled without end.

    python -m experiments.synthetic \
      --config=configs/synthetic/selective_copying.py --workdir=DIR
    python -m experiments.synthetic --config=... --workdir=DIR --mode=evaluate

Copying, induction heads, associative recall, formal languages, words in a
group: `jaxseq.data.tokens.TASKS` lists the tasks. Every arm of the config (one
mixer each) is trained with all its seeds as one program, and goes on where an
earlier run stopped. The run ends with a table, `DIR/learning_curve.png` and
`DIR/results.json`; with `test_options` in the config, also with the accuracies
under other options, such as longer sequences than those of the training.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxseq.data import tokens
from jaxseq.tasks import base
from jaxseq.tasks import synthetic
from jaxseq.training import app
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import files
from jaxseq.training import tables
from jaxseq.training.comparison import study
from jaxseq.training.devices import processes
from jaxseq.training.devices import seeds

_CONFIG, _WORKDIR = app.define_flags()
_MESH = app.define_mesh()
_MODE = app.define_mode()


@dataclasses.dataclass(frozen=True)
class Config(study.Supervised):
  """A comparison of networks on one task.

  Attributes:
    task: name of the task in `jaxseq.data.tokens`.
    task_options: of the task.
    test_options: further tests after the training: by label, the options of the
      task that differ.
    test_batches: batches of an evaluation.
    further_batch_size: sequences at once in the further tests.
    further_batches: how many batches each of them has.
    network: fields of `nn.NetworkConfig` that all arms share.
    optimizer: fields of `recipes.Recipe` that all arms share.
    batch_size: sequences per update.
  """

  _: dataclasses.KW_ONLY
  task: str
  task_options: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  test_options: Mapping[str, Mapping[str, Any]] = (
    ml_collections.FrozenConfigDict()
  )
  test_batches: int = 16
  further_batch_size: int = 8
  further_batches: int = 8
  network: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  optimizer: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  batch_size: int = 32

  def __post_init__(self):
    super().__post_init__()
    self.check_positive("test_batches", "further_batch_size", "further_batches")
    for options in ({}, *self.test_options.values()):
      tokens.make_config(self.task, **{**self.task_options, **options})


def make_arms(config: Config) -> dict[str, study.Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong.
  """
  signals = synthetic.chance(config.task, config.task_options) is None
  arms = {}
  for name in config.arms:
    arm = base.arm_config(config, name)
    time = tokens.make_config(config.task, **config.task_options).time
    arms[name] = study.Arm(
      synthetic.make_problem(
        arm,
        config.task,
        config.task_options,
        test_batches=config.test_batches,
      ),
      base.make_optimizer(arm, config.num_updates),
      metric="test_loss" if signals else "accuracy",
      examples=arm.batch_size * time,
      unit="tokens",
    )
  return arms


def test_further(
  config: Config, directory: pathlib.Path, arms: Mapping[str, study.Arm]
) -> dict[str, dict[str, Any]]:
  """Tests the newest checkpoints under each of `test_options`.

  Returns:
    For each arm and label, the metrics, a list over seeds each.
  """
  results = {}
  for name, arm in arms.items():
    _, variables = study.variables_of(config, directory, name, arm)
    results[name] = {}
    for label, options in config.test_options.items():

      def score(variables, name=name, options=options):
        return synthetic.accuracy_at(
          base.arm_config(config, name),
          config.task,
          {**config.task_options, **options},
          variables,
          config.further_batch_size,
          config.further_batches,
        )

      metrics = study.compile_for(config, score)(variables)
      results[name][label] = jax.tree.map(
        lambda x: np.asarray(x).tolist(), metrics
      )
  return results


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = study.parse(_CONFIG.value, Config, _MESH.value)
    arms = make_arms(config)
    directory = study.open_workdir(
      _WORKDIR.value, config, "synthetic", _MODE.value
    )
  columns = {"test_loss": "mean squared error"}
  if synthetic.chance(config.task, config.task_options) is not None:
    columns = {"accuracy": "accuracy", "solved": "whole sequences"}
  study.main(
    config,
    directory,
    arms,
    _MODE.value,
    title=f"{config.task}",
    columns=columns,
  )
  if config.test_options:
    further = test_further(config, directory, arms)
    if _MODE.value == "train" and processes.is_first():
      files.write_json(
        directory / "further_tests.json", configuration.to_json(further)
      )
    metric = next(iter(columns))
    labels = tables.natural_order(config.test_options)
    tables.show(
      ["arm", *labels],
      [
        [name, *(tables.mean_std(tests[label][metric]) for label in labels)]
        for name, tests in further.items()
      ],
      title=f"{config.task}, {columns[metric]} under other options",
    )


if __name__ == "__main__":
  app.run_main(main)
