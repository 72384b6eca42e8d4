"""Prediction of events in continuous time, with any mixer.

    python -m experiments.events --config=configs/events/hawkes.py --workdir=DIR
    python -m experiments.events --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (one mixer each), all seeds of
an arm as one program, and resumes where an earlier run stopped. It ends with a
table, `DIR/learning_curve.png` and `DIR/results.json`. The second command
evaluates the newest checkpoints. Where the sequences were simulated, the
likelihood of the process that made them is the line to reach: no model can do
better on average.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import ml_collections

from jaxseq import data
from jaxseq.tasks import base
from jaxseq.tasks import event_network
from jaxseq.tasks import events
from jaxseq.training import app
from jaxseq.training import errors
from jaxseq.training.comparison import study
from jaxseq.training.devices import seeds

_CONFIG, _WORKDIR = app.define_flags()
_MESH = app.define_mesh()
_MODE = app.define_mode()


@dataclasses.dataclass(frozen=True)
class Config(study.Supervised):
  """A comparison of networks on event sequences.

  Attributes:
    data: name of the process in `jaxseq.data`.
    data_options: options of its loader.
    components: see `event_network.ArmConfig`; arms may differ in it, as in the
      next three.
    mark_width: see `event_network.ArmConfig`.
    mark_sees_gap: see `event_network.ArmConfig`.
    time_frequencies: see `event_network.ArmConfig`.
    network: fields of `nn.NetworkConfig` that all arms share.
    optimizer: fields of `recipes.Recipe` that all arms share.
    batch_size: sequences per update.
  """

  _: dataclasses.KW_ONLY
  data: str
  data_options: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  components: int = 16
  mark_width: int = 32
  mark_sees_gap: bool = True
  time_frequencies: int = 0
  network: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  optimizer: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  batch_size: int = 32


def arm_config(config: Config, name: str) -> event_network.ArmConfig:
  """Returns the whole configuration of an arm."""
  return base.arm_config(
    config,
    name,
    event_network.ArmConfig,
    components=config.components,
    mark_width=config.mark_width,
    mark_sees_gap=config.mark_sees_gap,
    time_frequencies=config.time_frequencies,
  )


def make_arms(config: Config, splits: data.Splits) -> dict[str, study.Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong, or the data are no event sequences.
  """
  arms = {}
  for name in config.arms:
    arm = arm_config(config, name)
    arms[name] = study.Arm(
      events.make_problem(arm, splits),
      base.make_optimizer(arm, config.num_updates),
      metric="nll",
      examples=arm.batch_size,
      unit="sequences",
    )
  return arms


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = study.parse(_CONFIG.value, Config, _MESH.value)
    splits = data.load(config.data, **config.data_options)
    arms = make_arms(config, splits)
    directory = study.open_workdir(
      _WORKDIR.value, config, "events", _MODE.value
    )
  baselines = events.baselines(splits)
  columns = {"nll": "NLL (nats/event)"}
  if baselines:
    columns["nll_gap"] = "above the truth"
  columns["rmse"] = "RMSE of the gap"
  if splits.info.num_classes > 1:
    columns["accuracy"] = "mark accuracy"
  study.main(
    config,
    directory,
    arms,
    _MODE.value,
    title=f"{config.data}: test sequences",
    columns=columns,
    baselines=baselines,
  )


if __name__ == "__main__":
  app.run_main(main)
