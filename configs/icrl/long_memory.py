r"""S5 against a GRU on a task that needs a memory of 32 cards, or 64.

    python -m experiments.icrl --workdir=runs/long_memory \
      --config=configs/icrl/long_memory.py

RepeatPreviousMedium deals two decks one by one; at every step the agent names
the suit of the card 31 before the one on show. Every card is new, so the memory
has to be a queue of 32. Chance is -0.5, a perfect player gets 1. It takes about
17 minutes on two cores.

    --config=configs/icrl/long_memory.py:Hard

is RepeatPreviousHard: three decks, and a queue of 64.

    --config=configs/icrl/long_memory.py:mixers

has ten more memories, each two layers of width 64 with smaller networks around
them, in fewer steps of RepeatPreviousMedium; `:labyrinth` plays
LabyrinthExploreEasy with them: the agent sees three by three cells of a maze
and has to visit every cell. `:tiny` only checks that everything works, in a
minute or two of compilation at first.
"""

from configs import variants
from configs.icrl import quickstart
from jaxseq.training import configuration

# Mixers and their options.
_MEMORIES = {
  "s5": {"ssm_size": 128, "blocks": 1},
  "gru": {"d_hidden": 128},
  "gated_deltanet": {},
  "hgrn2": {"heads": 4},
  "lru": {"d_state": 128, "r_min": 0.9},
  "mingru": {"d_hidden": 256},
  "rglru": {"d_hidden": 128},
  "ffm": {},
  "fox": {"window": 64},
  "rtu": {"units": 128},
  "rwkv6": {"head_size": 16},
  "shm": {},
}
_WIDE = {"encoder_widths": (64,), "head_widths": (64,)}
MEDIUM = configuration.updated(
  quickstart.FULL,
  num_seeds=4,  # Two seeds on each of two cores.
  agent={"env_id": "RepeatPreviousMedium", "total_steps": 3_000_000},
  arms=quickstart.arms(
    s5={**quickstart.S5, "mixer_options": {"ssm_size": 128, "blocks": 1}},
    gru={**quickstart.GRU, "d_model": 128},
  ),
)
# One arm for each memory, with otherwise equal options.
MIXERS = configuration.updated(
  MEDIUM,
  num_seeds=1,
  agent={"total_steps": 819_200},
  arms=quickstart.arms(
    _WIDE,
    **{
      name: {**quickstart.S5, "mixer": name, "mixer_options": options}
      for name, options in _MEMORIES.items()
    },
  ),
)
get_config = variants.Variants(
  Medium=MEDIUM,
  Hard=configuration.updated(MEDIUM, agent={"env_id": "RepeatPreviousHard"}),
  mixers=MIXERS,
  labyrinth=configuration.updated(
    MIXERS,
    references={},
    agent={"env_id": "LabyrinthExploreEasy", "total_steps": 409_600},
  ),
  tiny=configuration.updated(
    quickstart.TINY, agent={"env_id": "RepeatPreviousMedium"}
  ),
)
