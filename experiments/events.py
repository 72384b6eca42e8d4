r"""Prediction of events in continuous time, with any mixer.

    python -m experiments.events --config=configs/events/hawkes.py --workdir=DIR
    python -m experiments.events --config=... --workdir=DIR --mode=evaluate
    python -m experiments.events --workdir=DIR --mode=predict \
      --arm=NAME --data=new.csv --output=predictions.csv

The first command trains every arm of the config (one mixer each), all seeds of
an arm as one program, and resumes where an earlier run stopped. It ends with a
table, `DIR/learning_curve.png`, `DIR/results.json` and the trained model of
each arm, `DIR/ARM/model.safetensors`. The second command evaluates the newest
checkpoints, the third predicts the next events of a file. Where the sequences
were simulated, the likelihood of the process that made them is the line to
reach: no model can do better on average.
"""

import dataclasses

from jaxseq import data
from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.tasks import base
from jaxseq.tasks import event_network
from jaxseq.tasks import events
from jaxseq.training import app
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import supervised_arms


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


_PROGRAM = experiment.Experiment("events", Config, modes=predict_mode.MODES)
predict_mode.define_flags()


def arm_config(config: Config, name: str) -> event_network.ArmConfig:
  """Returns the whole configuration of an arm."""
  return base.arm_config(config, name, event_network.ArmConfig)


def make_arms(
  config: Config, splits: data.Splits
) -> dict[str, supervised_arms.Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong, or the data are no event sequences.
  """
  made = {}
  for name in config.arms:
    arm = arm_config(config, name)
    problem = events.Problem(arm, splits)
    made[name] = base.make_arm(
      config, arm, problem, "nll", "sequences", better="lower"
    )
  return made


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  if predict_mode.predicts(_PROGRAM):
    return
  with _PROGRAM.setup() as config:
    splits = config.load()
    made = make_arms(config, splits)
    directory = _PROGRAM.open_directory(config)
  baselines = events.baselines(splits)
  columns = {"nll": "NLL (nats/event)"}
  if baselines:
    columns["nll_gap"] = "above the truth"
  columns["rmse"] = "RMSE of the gap"
  if splits.info.num_classes > 1:
    columns["accuracy"] = "mark accuracy"
  _PROGRAM.compare(
    config,
    made,
    directory,
    title=f"{config.data}: test sequences",
    subject=config.data,
    columns=columns,
    baselines=baselines,
    levels={
      name: values["nll"]
      for name, values in events.baselines(splits, "valid").items()
    },
    each=run_models.writer(_PROGRAM, config, directory, "events", made, splits),
  )


if __name__ == "__main__":
  app.run_main(main)
