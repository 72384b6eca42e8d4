r"""All mixers on one task, with equally many parameters.

    python -m experiments.compare --config=configs/compare/mnist1d.py \
      --workdir=DIR
    python -m experiments.compare --config=... --workdir=DIR --mode=evaluate

Each arm of the config is a mixer; its width is chosen so that the network comes
closest to `budget` parameters. All seeds of an arm are trained as one program,
and a run goes on where an earlier one stopped. It ends with a table that also
tells the speed of the training and the size of the state which each mixer
carries from token to token, `DIR/learning_curve.png` and `DIR/results.json`.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import Literal

import ml_collections

from jaxseq import data
from jaxseq.data import tokens
from jaxseq.tasks import base
from jaxseq.tasks import budget as budget_lib
from jaxseq.tasks import classification
from jaxseq.tasks import synthetic
from jaxseq.training import app
from jaxseq.training import errors
from jaxseq.training.comparison import study
from jaxseq.training.devices import seeds

_CONFIG, _WORKDIR = app.define_flags()
_MESH = app.define_mesh()
_MODE = app.define_mode()


@dataclasses.dataclass(frozen=True)
class Config(study.Supervised):
  """A comparison of mixers.

  Attributes:
    kind: "classify": a data set of `jaxseq.data`; "synthetic": a task of
      `jaxseq.data.tokens`.
    task: name of the set or task.
    task_options: of the set's loader, or of the task.
    budget: number of parameters; None keeps the widths of the config.
    network: fields of `nn.NetworkConfig` that all arms share.
    optimizer: fields of `recipes.Recipe` that all arms share.
    batch_size: sequences per update.
  """

  _: dataclasses.KW_ONLY
  kind: Literal["classify", "synthetic"]
  task: str
  task_options: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  budget: int | None = None
  network: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  optimizer: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  batch_size: int = 32

  def __post_init__(self):
    super().__post_init__()
    if self.budget is not None:
      self.check_positive("budget")


def make_arms(
  config: Config,
) -> tuple[dict[str, study.Arm], dict[str, base.ArmConfig]]:
  """Builds every arm, with its width fitted to the budget.

  Returns:
    The arms and their configurations, by name.

  Raises:
    ValueError: if an option is wrong, or the data are not there.
  """
  splits, width, pairs = None, 1, False
  if config.kind == "classify":
    splits = data.load(config.task, **config.task_options)
    inputs = splits.train.inputs
    outputs, vocab = splits.info.num_classes, splits.info.vocab_size
    width, time = inputs.shape[-1], inputs.shape[1]
    pairs = classification.is_paired(splits)
    time *= 2 if pairs else 1
  else:
    task = tokens.make_config(config.task, **config.task_options)
    outputs, vocab, time = task.num_classes, task.vocab_size, task.time
    if outputs is None:
      raise ValueError(
        f"task: got {config.task!r}, expected a task on tokens, not signals."
      )
  arms, configs = {}, {}
  for name in config.arms:
    arm = base.arm_config(config, name)
    if config.budget is not None:
      network = budget_lib.fit_width(
        arm.network, outputs, vocab, width, config.budget, pairs=pairs
      )
      arm = dataclasses.replace(arm, network=network)
    if splits is not None:
      problem = classification.make_problem(arm, splits)
    else:
      problem = synthetic.make_problem(arm, config.task, config.task_options)
    configs[name] = arm
    arms[name] = study.Arm(
      problem,
      base.make_optimizer(arm, config.num_updates),
      metric="accuracy",
      examples=arm.batch_size * time,
      unit="tokens",
    )
  return arms, configs


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = study.parse(_CONFIG.value, Config, _MESH.value)
    arms, configs = make_arms(config)
    directory = study.open_workdir(
      _WORKDIR.value, config, "compare", _MODE.value
    )
  run = study.run if _MODE.value == "train" else study.evaluate
  results = run(config, directory, arms)
  for name, result in results.items():
    network = configs[name].network
    result["d_model"] = network.stack.d_model
    result["state_bytes"] = budget_lib.state_bytes(network)
  study.finish(
    config,
    directory,
    arms,
    results,
    _MODE.value,
    title=config.task,
    columns={
      "d_model": "width",
      "accuracy": "test accuracy",
      "state_bytes": "state (bytes)",
    },
  )


if __name__ == "__main__":
  app.run_main(main)
