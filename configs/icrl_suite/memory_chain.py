r"""How long S5, an LSTM and attention remember a bit: bsuite's memory chain.

    python -m experiments.icrl_suite --workdir=runs/memory_chain \
      --config=configs/icrl_suite/memory_chain.py

The first observation shows a bit, and the last action, so many steps later, is
to name it: the return is 1 or -1. Each length is played for 10,000 episodes.
Osband et al., "Behaviour Suite for Reinforcement Learning", arXiv:1908.03568,
call a length solved if the regret over all of them, relative to that of chance,
is below 0.75: if the mean return over the whole training is above 0.25. Twenty
minutes on two cores.

    --config=configs/icrl_suite/memory_chain.py:sweep

has all the lengths of their experiment "memory_len"; `:between` has 50 and 70
steps for the LSTM alone, which remembers 30 and not 100. `:tiny` learns
nothing, and shows in a minute whether everything works.
"""

import ml_collections

from configs.icrl import quickstart
from jaxseq import _validate

_EPISODES = 10_000
_LENGTHS = {
  "full": (10, 30, 100),
  "between": (50, 70),
  "sweep": (*range(1, 11), 12, 14, 17, 20, 25, *range(30, 101, 10)),
  "tiny": (3, 5),
}

VARIANTS = tuple(_LENGTHS)


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  tiny = variant == "tiny"
  config = quickstart.get_config("tiny" if tiny else "full")
  config.num_seeds = 1 if tiny else 4  # As many on each of two cores.
  config.references = {}
  config.tensorboard = False
  config.environments = {
    f"memory_{length:03}": {
      "env_id": "MemoryChain-bsuite",
      "env_params": {"memory_length": length},
      # An episode is one step longer than the memory.
      "total_steps": (
        config.agent.total_steps if tiny else _EPISODES * (length + 1)
      ),
    }
    for length in _LENGTHS[variant]
  }
  config.bounds = dict.fromkeys(config.environments, (-1.0, 1.0))
  s5 = config.arms.s5.network.to_dict()
  gru = config.arms.gru.network.to_dict()
  lstm = {**gru["stack"], "mixer": "lstm"}
  attention = {
    **s5["stack"],
    "mixer": "attention",
    "mixer_options": {"window": 128},
  }
  config.arms = {
    "s5": {"network": s5},
    "lstm": {"network": {**gru, "stack": lstm}},
    "attention": {"network": {**s5, "stack": attention}},
  }
  if variant in ("between", "tiny"):
    config.arms = {"lstm": config.arms.lstm.to_dict()}
  return config
