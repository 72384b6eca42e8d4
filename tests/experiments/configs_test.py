"""Every config, and every arm of it, is accepted."""

import importlib
import itertools
import pathlib

import pytest

from jaxseq.dts import problem
from jaxseq.rl import algorithms
from jaxseq.rl import comparison
from jaxseq.tasks import base
from jaxseq.tasks import regression
from jaxseq.training import configuration

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
# Arguments beside the default one and "tiny".
VARIANTS = {
  "dts/activities": ("own", "watch", "tiny"),
  "dts/collapse": ("lstm", "gru", "s5", "mamba", "tiny"),
  "dts/downstream": ("ecg", "mitdb", "tiny"),
  "dts/ecg": ("heartbeat", "dynamics", "beyond", "tiny"),
  "dts/ragged": ("pickup_gesture", "tiny"),
  "dts/synthetic": ("beyond", "tiny"),
  "dts/watch_adaptation": (
    "reverse",
    "own",
    "own_reverse",
    "heads",
    "heads_reverse",
    "own_heads",
    "weights",
    "1_to_2",
    "own_1_to_2",
    "tiny",
  ),
  "classify/lra": ("text", "retrieval", "image", "pathfinder", "pathx"),
  "classify/mnist1d": ("shuffled", "tiny"),
  "classify/pendulum": ("short", "tiny"),
  "classify/smnist": ("permuted", "mnist", "tiny"),
  "classify/fashion": ("pixel", "tiny"),
  "classify/uea": ("japanese_vowels", "tiny"),
  "forecast/hourly": ("seasonal", "tiny"),
  "icrl/ablation": ("RepeatFirstEasy,tiny",),
  "icrl/images": ("SpaceInvaders-MinAtar", "Breakout-MinAtar,tiny"),
  "icrl/long_memory": ("Hard", "tiny"),
  "icrl/memory_chain": ("100",),
  "icrl/popgym_gru": ("RepeatPreviousHard",),
  "icrl/popgym_s5": ("RepeatPreviousHard",),
  "icrl/projected_cartpole": ("s5", "long", "paper", "tiny"),
  "icrl/small": ("BattleshipEasy",),
  "synthetic/induction": ("paper", "tiny"),
  "synthetic/mqar": ("paper", "tiny"),
  "synthetic/selective_copying": ("tiny",),
  "synthetic/state_tracking": ("S3", "Z60", "tiny"),
}


@pytest.mark.parametrize(
  "experiment", ["classify", "decision", "events", "forecast", "synthetic"]
)
def test_configs(experiment):
  module = importlib.import_module(f"experiments.{experiment}")
  arm_config = getattr(module, "arm_config", base.arm_config)
  files = sorted((CONFIGS / experiment).glob("[!_]*.py"))
  assert files
  for path in files:
    name = f"{experiment}/{path.stem}"
    get_config = importlib.import_module(
      f"configs.{experiment}.{path.stem}"
    ).get_config
    variants = VARIANTS.get(name, ("tiny",))
    for arguments in itertools.chain([()], ((v,) for v in variants)):
      config = configuration.from_config_dict(
        module.Config, get_config(*arguments), name=name
      )
      for arm in config.arms:
        if name == "classify/pendulum":
          made = base.arm_config(
            config, arm, regression.ArmConfig, gaps=config.gaps
          )
        else:
          made = arm_config(config, arm)
        base.make_optimizer(made, config.num_updates)
    if name != "classify/uea":
      with pytest.raises(ValueError, match="got 'huge'"):
        get_config("huge")


def test_configs_of_codes():
  module = importlib.import_module("experiments.dts")
  for path in sorted((CONFIGS / "dts").glob("[!_]*.py")):
    name = f"dts/{path.stem}"
    get_config = importlib.import_module(f"configs.dts.{path.stem}").get_config
    for arguments in [(), *((v,) for v in VARIANTS.get(name, ("tiny",)))]:
      config = configuration.from_config_dict(
        module.Config, get_config(*arguments), name=name
      )
      for arm in module.arm_configs(config).values():
        problem.make_optimizer(arm, config.num_updates)
    with pytest.raises(ValueError, match="got 'huge'"):
      get_config("huge")


@pytest.mark.parametrize(
  "path", sorted((CONFIGS / "icrl").glob("*.py")), ids=lambda path: path.stem
)
def test_configs_of_memories(path):
  name = f"icrl/{path.stem}"
  get_config = importlib.import_module(f"configs.icrl.{path.stem}").get_config
  for arguments in [(), *((v,) for v in VARIANTS.get(name, ("tiny",)))]:
    config = configuration.from_config_dict(
      comparison.Config, get_config(*arguments), name=name
    )
    for arm_name in config.arms:
      arm = comparison.arm_config(config, arm_name)
      player = algorithms.of(arm).player(arm)
      assert player.env_params.max_steps_in_episode > 0
      comparison.evaluation_configs(config, arm)
