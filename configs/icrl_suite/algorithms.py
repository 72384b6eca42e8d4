r"""PPO, PQN and R2D2 with one GRU on four games, at equal steps and seconds.

    taskset -c 1 python -m experiments.icrl_suite \
      --config=configs/icrl_suite/algorithms.py --workdir=runs/algorithms

The easy level of each game, three seeds, 204,800 environment steps each, and
the same network but for its heads. PPO has the settings of the quickstart; PQN
and R2D2, which take the best action in evaluation, share those of
`configs/icrl/r2d2.py` if both have them. Equal seconds are the time in which
the fastest of the three makes all its steps. It takes 17 CPU minutes; results
are in docs/results. `:tiny` only checks in a minute that everything works.
"""

from configs import variants
from configs.icrl import quickstart
from configs.icrl import r2d2
from configs.icrl_suite import popgym
from jaxseq.programs import icrl_suite
from jaxseq.training import configuration

GAMES = (
  "RepeatPreviousEasy",
  "RepeatFirstEasy",
  "PositionOnlyCartPoleEasy",
  "MultiarmedBanditEasy",
)
_NETWORK = quickstart.arms(gru=quickstart.GRU)["gru"]
# Shared fields are in `agent`, the others in each arm.
SHARED = ("normalize_observation", "num_envs", "learning_rate_schedule")
_Q = ("adam_epsilon", "max_grad_norm", "gamma", "epsilon_end")
_Q += ("exploration_fraction",)


def _rest(agent: dict, *names: str) -> dict:
  """Returns the named fields of an agent, by default the unshared ones."""
  left_out = (*SHARED, "env_id", "total_steps")
  names = names or [name for name in agent if name not in left_out]
  return {name: agent[name] for name in names}


_PPO, _R2D2 = quickstart.FULL.agent, r2d2.AGENT
_PQN = {
  "rollout_length": 64,
  "num_epochs": 4,
  "num_minibatches": 4,
  "learning_rate": 1e-3,
  "gae_lambda": 0.65,
  **_rest(_R2D2, *_Q),
}
ARMS = {
  "ppo": {"algorithm": "ppo", **_NETWORK, **_rest(_PPO)},
  "pqn": {"algorithm": "pqn", **_NETWORK, **_PQN},
  "r2d2": {"algorithm": "r2d2", **_NETWORK, **_rest(_R2D2)},
}
_SAME = vars(quickstart.FULL) | {
  "references": {},
  "tensorboard": False,
  "num_seeds": 3,
  "updates_per_chunk": 10,
  "chunks_per_checkpoint": 20,
  "evaluation_greedy": True,
  "agent": _rest(_PPO, *SHARED) | {"total_steps": 204_800},
  "arms": ARMS,
}
FULL = icrl_suite.Config(
  **_SAME,
  environments={game: {} for game in GAMES},
  bounds={game: popgym.BOUNDS[game] for game in GAMES},
)
_SHORT = {"rollout_length": 16, "num_minibatches": 2}
_FEW = {"sequence_length": 16, "learning_starts": 8, "batch_size": 4}
TINY = configuration.updated(
  FULL,
  num_seeds=1,
  updates_per_chunk=2,
  evaluation_episodes=8,
  agent={"num_envs": 4, "total_steps": 256},
  arms={
    name: configuration.merged(arm, quickstart.SMALL, few)
    for (name, arm), few in zip(ARMS.items(), (_SHORT, _SHORT, _FEW))
  },
  environments={"RepeatFirstEasy": {}, "MultiarmedBanditEasy": {}},
)
get_config = variants.Variants(full=FULL, tiny=TINY)
