r"""How long S5, an LSTM and attention remember a bit: bsuite's memory chain.

    python -m experiments.icrl_suite --workdir=runs/memory_chain \
      --config=configs/icrl_suite/memory_chain.py

The first observation shows a bit, and the last action has to name it: the
return is 1 or -1. Each length is played for 10,000 episodes. Osband et al.,
"Behaviour Suite for Reinforcement Learning", arXiv:1908.03568, call a length
solved if the regret over all episodes, relative to chance, is below 0.75: if
the mean return over the whole training is above 0.25. It takes twenty minutes
on two cores.

    --config=configs/icrl_suite/memory_chain.py:sweep

has all the lengths of their experiment "memory_len"; `:between` has 50 and 70
steps for only the LSTM, which remembers 30 but not 100. `:tiny` only checks in
a minute that everything works.
"""

from configs import variants
from configs.icrl import quickstart
from jaxseq.programs import icrl_suite
from jaxseq.training import configuration

_EPISODES = 10_000
_SWEEP = (*range(1, 11), 12, 14, 17, 20, 25, *range(30, 101, 10))
ATTENTION = {"mixer": "attention", "mixer_options": {"window": 128}}
ARMS = quickstart.arms(
  s5=quickstart.S5,
  lstm={**quickstart.GRU, "mixer": "lstm"},
  attention={**quickstart.S5, **ATTENTION},
)
LSTM = {"lstm": ARMS["lstm"]}


def _suite(*lengths: int, tiny: bool = False) -> icrl_suite.Config:
  """Returns the suite of these lengths."""
  comparison = quickstart.TINY if tiny else quickstart.FULL
  environments = {}
  for length in lengths:
    # An episode is one step longer than the memory.
    steps = _EPISODES * (length + 1)
    environments[f"memory_{length:03}"] = {
      "env_id": "MemoryChain-bsuite",
      "env_params": {"memory_length": length},
      "total_steps": comparison.agent["total_steps"] if tiny else steps,
    }
  return icrl_suite.Config(
    **vars(comparison)
    | {
      "num_seeds": 1 if tiny else 4,  # Two seeds on each of two cores.
      "references": {},
      "tensorboard": False,
      "arms": ARMS,
    },
    environments=environments,
    bounds=dict.fromkeys(environments, (-1.0, 1.0)),
  )


SMALL = {"lstm": configuration.merged(LSTM["lstm"], quickstart.SMALL)}
get_config = variants.Variants(
  full=_suite(10, 30, 100),
  between=configuration.updated(_suite(50, 70), arms=LSTM),
  sweep=_suite(*_SWEEP),
  tiny=configuration.updated(_suite(3, 5, tiny=True), arms=SMALL),
)
