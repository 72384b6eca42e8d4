r"""Eight kinds of memory on six games of POPGym, at equal budgets.

    python -m experiments.icrl_suite --config=configs/icrl_suite/popgym.py \
      --workdir=runs/icrl_suite

The easy level of each game, four seeds, 409,600 environment steps each, and
the settings of the quickstart throughout. In the aggregates a random player
counts as 0 and the reference player of each game as 1: one with a perfect
memory, and Thompson sampling for the bandit. Two hours on two cores beside
other runs; docs/results has what came out. The runs that are over are kept
when it is stopped.

    --config=configs/icrl_suite/popgym.py:tiny

learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs.icrl import quickstart
from jaxseq import _validate

# Returns of a random and of a reference player.
_BOUNDS = {
  "RepeatPreviousEasy": (-0.51, 1.0),
  "RepeatFirstEasy": (-0.5, 1.0),
  "CountRecallEasy": (-0.93, 1.0),
  "AutoencodeEasy": (-0.5, 1.0),
  "PositionOnlyCartPoleEasy": (0.11, 1.0),
  "MultiarmedBanditEasy": (0.0, 0.66),
}

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = quickstart.get_config(variant)
  config.num_seeds = 4  # As many on each of two cores.
  config.references = {}
  config.tensorboard = False
  config.bounds = dict(_BOUNDS)
  config.environments = {env_id: {} for env_id in _BOUNDS}
  transformer = {"d_model": 64, "num_layers": 2, "norm": "layer"}
  stacks = {
    "lstm": {**config.arms.gru.network.stack, "mixer": "lstm"},
    "mamba": {
      **transformer,
      "mixer": "mamba",
      "mixer_options": {"expand": 1},
      "activation": "none",
    },
    "lightnet": {**transformer, "mixer": "lightnet"},
    "aaren": {**transformer, "mixer": "aaren"},
    "attention": {
      **transformer,
      "mixer": "attention",
      "mixer_options": {"window": 128},
    },
    "none": {"d_model": 64, "num_layers": 0},
  }
  widths = {"encoder_widths": (128,), "head_widths": (128, 128)}
  config.arms = {
    **config.arms,
    **{
      name: {"network": {"stack": stack, **widths}}
      for name, stack in stacks.items()
    },
  }
  config.films = ("s5",)
  if variant == "tiny":
    config.num_seeds = 1
    config.environments = {"RepeatFirstEasy": {}, "MultiarmedBanditEasy": {}}
    config.bounds = {name: _BOUNDS[name] for name in config.environments}
    config.arms = {
      "gru": config.arms.gru,
      "none": config.arms.none,
    }
    config.arms.none.network.stack.d_model = 8
    config.films = ()
  return config
