r"""Remembering a bit: bsuite's memory chain (Osband et al., 2019).

    python -m experiments.icrl --config=configs/icrl/memory_chain.py:20 \
      --workdir=DIR

The first observation shows a bit, and the last action has to name it, after the
number of steps in the config's argument. The return is 1 or -1: 0 is chance.
Results and times are in docs/results/in_context_rl.md.
"""

from configs.icrl import quickstart
from jaxseq.rl import rl_arms
from jaxseq.training import configuration


def get_config(length: str = "20") -> rl_arms.Config:
  # Episodes of gymnax end after 1,000 steps, whatever the memory's length.
  if not length.isdigit() or not 1 <= int(length) <= 998:
    raise ValueError(f"length: got {length!r}, expected 1 to 998.")
  return configuration.updated(
    quickstart.FULL,
    agent={
      "env_id": "MemoryChain-bsuite",
      "env_params": {"memory_length": int(length)},
      "total_steps": 204_800,
    },
    references={"perfect": 1.0, "chance": 0.0},
  )
