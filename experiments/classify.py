"""Classification of sequences, with any mixer.

    python -m experiments.classify --config=configs/classify/digits.py \
      --workdir=DIR
    python -m experiments.classify --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (one mixer each), all seeds of
an arm as one program, and resumes where an earlier run stopped. It ends with a
table, `DIR/learning_curve.png` and `DIR/results.json`. The second command
evaluates the newest checkpoints.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import ml_collections

from jaxseq import data
from jaxseq.tasks import base
from jaxseq.tasks import classification
from jaxseq.training import app
from jaxseq.training import config as config_lib
from jaxseq.training import errors
from jaxseq.training import seeds
from jaxseq.training import study

_CONFIG, _WORKDIR = app.define_flags()
_MODE = app.define_mode()


@dataclasses.dataclass(frozen=True)
class Config(study.Supervised):
  """A comparison of networks on one data set.

  Attributes:
    data: name of the data set in `jaxseq.data`.
    data_options: options of its loader.
    network: fields of `nn.NetworkConfig` that all arms share.
    optimizer: fields of `recipes.Recipe` that all arms share.
    batch_size: examples per update.
  """

  _: dataclasses.KW_ONLY
  data: str
  data_options: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  network: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  optimizer: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  batch_size: int = 32


def make_arms(config: Config) -> dict[str, study.Arm]:
  """Loads the data and builds every arm.

  Raises:
    ValueError: if an option is wrong, or the data are not there.
  """
  splits = data.load(config.data, **config.data_options)
  arms = {}
  for name in config.arms:
    arm = base.arm_config(config, name)
    arms[name] = study.Arm(
      classification.make_problem(arm, splits),
      base.make_optimizer(arm, config.num_updates),
      metric="accuracy",
      examples=arm.batch_size,
      unit="sequences",
    )
  return arms


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = config_lib.parse(_CONFIG.value, Config)
    arms = make_arms(config)
    directory = study.open_workdir(
      _WORKDIR.value, config, "classify", _MODE.value
    )
  study.main(
    config,
    directory,
    arms,
    _MODE.value,
    title=f"{config.data}: accuracy on the test set",
    columns={"accuracy": "accuracy", "test_loss": "loss (nats)"},
  )


if __name__ == "__main__":
  app.run_main(main)
