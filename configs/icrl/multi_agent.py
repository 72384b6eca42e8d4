r"""IPPO and MAPPO: three agents that share a network cover three landmarks.

    python -m experiments.icrl --config=configs/icrl/multi_agent.py \
      --workdir=runs/multi_agent

MPE_simple_spread_v3 of JaxMARL (`pip install '.[jaxmarl]'`). Each agent acts on
its own observations; the critic of `ippo` sees only these, and the critic of
`mappo` the observations of all agents. Returns are means over the agents, for
episodes of 25 steps. `:small` has half a million steps instead of four, and
`:smax` is SMAX's battle of three marines against three, with action masks and
agents that may die. `:tiny` only checks that everything works.
"""

from configs import variants
from configs.icrl import quickstart
from jaxseq.rl import rl_arms
from jaxseq.training import configuration

_TEAM = {"players": "team"}
FULL = rl_arms.Config(
  agent={
    "env_id": "jaxmarl/MPE_simple_spread_v3",
    "env_options": _TEAM,
    "network": {
      "stack": quickstart.GRU,
      "encoder_widths": (64,),
      "head_widths": (64,),
    },
    "normalize_observation": False,
    "reward_normalization": "returns",
    "num_envs": 16,
    "rollout_length": 100,
    "total_steps": 4_000_000,
    "num_epochs": 4,
    "num_minibatches": 4,
    "learning_rate": 2e-3,
    "learning_rate_schedule": "linear",
    "gae_lambda": 0.95,
    "entropy_coef": 0.01,
  },
  arms={"ippo": {"critic": "separate"}, "mappo": {"critic": "central"}},
)
SMALL = configuration.updated(FULL, agent={"total_steps": 480_000})
SMAX = configuration.updated(
  FULL,
  agent={
    "env_id": "jaxmarl/HeuristicEnemySMAX",
    "env_options": {**_TEAM, "scenario": "3m"},
  },
)
TINY = quickstart.small(
  FULL, rollout_length=16, num_minibatches=2, total_steps=256
)
get_config = variants.Variants(full=FULL, small=SMALL, smax=SMAX, tiny=TINY)
