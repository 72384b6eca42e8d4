r"""A memory beyond the length of a rollout, with and without RTRL.

    python -m experiments.icrl --config=configs/icrl/streams.py --workdir=DIR

RepeatPreviousEasy asks for the suit of the card three before the one on show,
in rollouts of two steps: no gradient flows from the answer to the card. At
first the LRU forgets most of a card within two steps. `truncated` has only the
rest of it in a random recurrence; the states of `rtrl` carry their derivatives
from rollout to rollout, which train the recurrence to remember; `whole` is
`truncated` in rollouts of 32 steps, with equally many steps in all and per
update. Without memory the mean return is -0.5, a perfect player gets 1. `:tiny`
only checks in a minute that everything works.
"""

from configs import variants
from configs.icrl import quickstart
from jaxseq.training import configuration

_LRU = {
  "mixer": "lru",
  "mixer_options": {"d_state": 24, "r_min": 0.1, "r_max": 0.5},
  "d_model": 24,
  "num_layers": 1,
  "norm": "none",
}
_WIDTHS = {"encoder_widths": (), "head_widths": (64,)}
_ARMS = quickstart.arms(_WIDTHS, rtrl=_LRU | {"rtrl": True}, truncated=_LRU)
_LONG = {"num_envs": 16, "rollout_length": 32}
FULL = configuration.updated(
  quickstart.FULL,
  num_seeds=3,
  agent={
    "num_envs": 256,
    "rollout_length": 2,
    "num_epochs": 2,
    "gamma": 0.5,
    "learning_rate": 3e-3,
    "total_steps": 307_200,
  },
  arms=_ARMS | {"whole": _ARMS["truncated"] | _LONG},
  updates_per_chunk=50,
)
get_config = variants.Variants(
  full=FULL, tiny=quickstart.small(FULL, total_steps=512)
)
