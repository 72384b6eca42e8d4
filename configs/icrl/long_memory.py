r"""S5 against a GRU where 32 cards have to be held in memory, or 64.

    python -m experiments.icrl --workdir=runs/long_memory \
      --config=configs/icrl/long_memory.py

RepeatPreviousMedium deals two decks one by one; at every step the agent is to
name the suit of the card 31 before the one on show. Every card is new, so that
the memory has to be a queue of 32. Chance is -0.5, a perfect player gets 1.
Some 17 minutes on two cores.

    --config=configs/icrl/long_memory.py:Hard

is RepeatPreviousHard: three decks, and a queue of 64.

    --config=configs/icrl/long_memory.py:mixers

has five more memories beside these two, each two layers of width 64 and smaller
networks around them, in fewer steps of RepeatPreviousMedium; `:labyrinth` plays
LabyrinthExploreEasy with them, where every cell of a maze that is seen three by
three cells at a time is to be visited. `:tiny` learns nothing, and shows in
seconds whether everything works.
"""

import ml_collections

from configs.icrl import quickstart
from jaxseq import _validate

VARIANTS = ("Medium", "Hard", "mixers", "labyrinth", "tiny")
# Mixers and their options.
_MEMORIES = {
  "s5": {"ssm_size": 128, "blocks": 1},
  "gru": {"d_hidden": 128},
  "gated_deltanet": {},
  "hgrn2": {"heads": 4},
  "lru": {"d_state": 128, "r_min": 0.9},
  "mingru": {"d_hidden": 256},
  "rglru": {"d_hidden": 128},
}


def get_config(variant: str = "Medium") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  if variant == "tiny":
    config = quickstart.get_config("tiny")
    config.agent.env_id = "RepeatPreviousMedium"
    return config
  config = quickstart.get_config()
  if variant in ("mixers", "labyrinth"):
    return _mixers(config, variant)
  config.num_seeds = 4  # As many on each of two cores.
  config.agent.env_id = f"RepeatPrevious{variant}"
  config.agent.total_steps = 3_000_000
  config.arms.s5.network.stack.mixer_options.ssm_size = 128
  config.arms.gru.network.stack.d_model = 128
  return config


def _mixers(config, variant):
  """Returns one arm for each memory, alike but for that."""
  config.agent.update(env_id="RepeatPreviousMedium", total_steps=819_200)
  if variant == "labyrinth":
    config.references = {}
    config.agent.update(env_id="LabyrinthExploreEasy", total_steps=409_600)
  config.num_seeds = 1
  config.arms = {
    name: {
      "network": {
        "stack": {
          "mixer": name,
          "mixer_options": options,
          "d_model": 64,
          "num_layers": 2,
          "norm": "layer",
        },
        "encoder_widths": (64,),
        "head_widths": (64,),
      }
    }
    for name, options in _MEMORIES.items()
  }
  return config
