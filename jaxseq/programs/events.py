"""Prediction of events in continuous time, with any mixer."""

import dataclasses

from jaxseq.programs import line
from jaxseq.tasks import base
from jaxseq.tasks import event_network
from jaxseq.tasks import events
from jaxseq.training.comparison import experiment


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of networks on event sequences.

  Attributes:
    components: see `event_network.ArmConfig`; arms may differ in it, as in the
      next three.
    mark_width: see `event_network.ArmConfig`.
    mark_sees_gap: see `event_network.ArmConfig`.
    time_frequencies: see `event_network.ArmConfig`.
  """

  _: dataclasses.KW_ONLY
  components: int = 16
  mark_width: int = 32
  mark_sees_gap: bool = True
  time_frequencies: int = 0


def arm_config(config: Config, name: str) -> event_network.ArmConfig:
  """Returns the whole configuration of an arm."""
  return events.TASK.arm_config(config, name)


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""
  line.main(
    program,
    lambda splits: events.TASK,
    lambda config, task: f"{config.data}: test sequences",
  )
