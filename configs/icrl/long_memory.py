r"""S5 against a GRU where 32 cards have to be held in memory, or 64.

    python -m experiments.icrl --workdir=runs/long_memory \
      --config=configs/icrl/long_memory.py

RepeatPreviousMedium deals two decks one by one; at every step the agent is to
name the suit of the card 31 before the one on show. Every card is new, so that
the memory has to be a queue of 32. Chance is -0.5, a perfect player gets 1.
Some 17 minutes on two cores.

    --config=configs/icrl/long_memory.py:Hard

is RepeatPreviousHard: three decks, and a queue of 64. `:tiny` learns nothing,
and shows in seconds whether everything works.
"""

import ml_collections

from configs.icrl import quickstart
from jaxseq import _validate

VARIANTS = ("Medium", "Hard", "tiny")


def get_config(variant: str = "Medium") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  if variant == "tiny":
    config = quickstart.get_config("tiny")
    config.agent.env_id = "RepeatPreviousMedium"
    return config
  config = quickstart.get_config()
  config.num_seeds = 4  # As many on each of two cores.
  config.agent.env_id = f"RepeatPrevious{variant}"
  config.agent.total_steps = 3_000_000
  config.arms.s5.network.stack.mixer_options.ssm_size = 128
  config.arms.gru.network.stack.d_model = 128
  return config
