"""Every config, and every arm of it, is accepted."""

import hashlib
import importlib
import json
import pathlib

import pytest

from configs.variants import Variants
from jaxseq.data import datasets
from jaxseq.dts import problem
from jaxseq.rl import algorithms
from jaxseq.rl import rl_arms
from jaxseq.tasks import base
from jaxseq.tasks import regression
from jaxseq.training import configuration
from jaxseq.training.comparison import arms
from tests.experiments import programs

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
# Arguments of configs that take more than they could list.
EXAMPLES = {
  "classify/uea": ("japanese_vowels", "tiny"),
  "icrl/ablation": ("RepeatFirstEasy,tiny",),
  "icrl/images": ("SpaceInvaders-MinAtar", "Breakout-MinAtar,tiny"),
  "icrl/memory_chain": ("100",),
  "icrl/own_environment": ("Breakout-MinAtar",),
  "icrl/popgym_gru": ("RepeatPreviousHard",),
  "icrl/popgym_s5": ("RepeatPreviousHard",),
  "icrl/small": ("BattleshipEasy",),
  "icrl/velocity_free": ("PositionOnlyPendulumEasy,tiny",),
}
# The experiments that compare networks on a supervised problem, without one
# whose flags another has too.
SUPERVISED = [
  name
  for name in programs.experiments(base.Comparison)
  if name != "language_model"
]
# Data sets that come as they are, or take seconds.
LARGE = ("digits", "fashion", "mnist_subset", "pathfinder")
# Variants that need a package that few machines have.
ABSENT = {
  ("icrl/continuous_control", "inverted_pendulum"),
  ("icrl/continuous_control", "inverted_pendulum_ppo"),
  ("icrl/continuous_control", "inverted_double_pendulum"),
  ("icrl/continuous_control", "inverted_double_pendulum_ppo"),
  ("icrl/multi_agent", "full"),
  ("icrl/multi_agent", "small"),
  ("icrl/multi_agent", "smax"),
  ("icrl/multi_agent", "tiny"),
  ("icrl/projected_control", "bodies"),
}


def configs(experiment, kind):
  """Yields the name and every variant of every config of an experiment."""
  for path in sorted((CONFIGS / experiment).glob("[!_]*.py")):
    name = f"{experiment}/{path.stem}"
    module = importlib.import_module(f"configs.{experiment}.{path.stem}")
    named = [(variant,) for variant in variants(name, module)]
    # The first of `Variants` is the default.
    default = [] if isinstance(module.get_config, Variants) else [()]
    for arguments in [*default, *named]:
      if (name, *arguments) not in ABSENT:
        made = module.get_config(*arguments)
        yield name, configuration.from_config_dict(kind, made, name=name)
    if name not in EXAMPLES:
      check_refusal(name, module)


def check_refusal(name, module):
  refusal = "nothing"
  try:
    module.get_config("huge")
  except ValueError as error:
    refusal = str(error)
  assert "got 'huge'" in refusal, (
    f"configs/{name}.py: get_config('huge') raised {refusal}, expected the "
    "ValueError of `configs.variants.Variants` for what is none of them"
  )


def variants(name, module):
  if name in EXAMPLES:
    return EXAMPLES[name]
  return getattr(module, "VARIANTS", getattr(module.get_config, "names", ()))


@pytest.mark.parametrize("experiment", SUPERVISED)
def test_configs(experiment):
  module = importlib.import_module(f"experiments.{experiment}")
  task = getattr(module, "TASK", None)
  for name, config in configs(experiment, module.Config):
    kind = base.ArmConfig if task is None else task.arm
    if name == "classify/pendulum":
      kind = regression.ArmConfig
    for arm in config.arms:
      made = arms.merge(config, arm, kind)
      base.make_optimizer(made, config.num_updates)


def test_the_data_of_tiny_variants():
  """Those that are made or small: a share of few examples may be none."""
  loaded = []
  for experiment in SUPERVISED:
    kind = importlib.import_module(f"experiments.{experiment}").Config
    # Spans of a forecast are as long as its problem says.
    if not issubclass(kind, base.DataComparison) or experiment == "forecast":
      continue
    for path in sorted((CONFIGS / experiment).glob("[!_]*.py")):
      name = f"{experiment}/{path.stem}"
      module = importlib.import_module(f"configs.{experiment}.{path.stem}")
      for variant in variants(name, module):
        if "tiny" not in variant:
          continue
        made = module.get_config(variant)
        config = configuration.from_config_dict(kind, made, name=name)
        if config.data in LARGE:
          continue
        try:
          config.load()
        except datasets.MissingData:
          continue
        except ValueError as error:
          pytest.fail(f"{name}.py:{variant}: {error}")
        loaded.append(f"{name}:{variant}")
  assert "masked_language/rna:tiny" in loaded


def test_configs_of_codes():
  module = importlib.import_module("experiments.dts")
  for _, config in configs("dts", module.Config):
    for arm in module.arm_configs(config).values():
      problem.make_optimizer(arm, config.num_updates)


def test_configs_of_memories():
  for _, config in configs("icrl", rl_arms.Config):
    for arm_name in config.arms:
      arm = rl_arms.agent_config(config, arm_name)
      player = algorithms.of(arm).player(arm)
      assert player.env_params.max_steps_in_episode > 0
      rl_arms.evaluation_configs(config, arm)


# Digests of what the variants of each file build. After a change that is meant:
#   python -m tests.experiments.configs_test
DIGESTS = pathlib.Path(__file__).with_name("configs.json")


def digests():
  """Returns a digest of all variants of each config file."""
  out = {}
  for path in sorted(CONFIGS.glob("*/[!_]*.py")):
    name = f"{path.parent.name}/{path.stem}"
    module = importlib.import_module(f"configs.{path.parent.name}.{path.stem}")
    kind = importlib.import_module(f"experiments.{path.parent.name}").Config
    for arguments in [(), *((v,) for v in variants(name, module))]:
      if (name, *arguments) in ABSENT:
        continue
      made = module.get_config(*arguments)
      config = configuration.from_config_dict(kind, made)
      text = json.dumps(configuration.to_json(config), sort_keys=True)
      # Small texts are packages of the interpreter.
      text = text.replace(str(pathlib.Path(json.__file__).parents[1]), "")
      out.setdefault(name, hashlib.sha256()).update(text.encode())
  return {name: digest.hexdigest()[:16] for name, digest in out.items()}


def test_configs_build_what_they_have_built():
  built, known = digests(), json.loads(DIGESTS.read_text())
  names = sorted({**built, **known})
  changed = [name for name in names if built.get(name) != known.get(name)]
  assert not changed, (
    f"configs that build something else than before, or are new: {changed}. If "
    "that is meant, run: python -m tests.experiments.configs_test"
  )


if __name__ == "__main__":
  DIGESTS.write_text(json.dumps(digests(), indent=1) + "\n")
