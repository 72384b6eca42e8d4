r"""Four mistakes of recurrent agents, each with and without it.

    python -m experiments.icrl --config=configs/icrl/mistakes.py:NAME \
      --workdir=DIR

NAME is

    time_limit   truncation by the time limit is treated as termination
    burn_in      replayed sequences start from the stored state without burn-in
    old_views    delayed observations of one episode are seen in the next
    tiny         a test run of old_views, in a minute

The wrong flag of an episode's first step, the fourth, is the arm "stale_flags"
of configs/icrl/ablation.py. docs/rl_mistakes.md describes all of them.
"""

import dataclasses
from typing import Any

from configs import variants
from configs.icrl import quickstart
from configs.icrl import r2d2
from jaxseq.rl import envs
from jaxseq.rl import rl_arms
from jaxseq.rl import wrappers
from jaxseq.training import configuration


@dataclasses.dataclass(frozen=True)
class Leaking(wrappers.Delay):
  """Delayed observations that are not dropped when an episode ends."""

  def _step(self, key, state, action, params):
    observation, env_state, *rest, info = self.env.step(
      key, state.env_state, action, params
    )
    shown, waiting = self._take(state.waiting, observation)
    after = wrappers.DelayState(env_state, waiting)
    return shown, after, *rest, {**info, "final_observation": shown}


def _leaking(delay: int) -> wrappers.Wrapper:
  return Leaking(envs.make("RepeatFirstEasy")[0], delay)


envs.register("RepeatFirstEasy-leaking", _leaking)

_GRU = quickstart.arms(gru=quickstart.GRU)["gru"]


def _of(
  config: rl_arms.Config, arms: dict[str, dict[str, Any]], **agent: Any
) -> rl_arms.Config:
  """Returns a comparison of changes to the GRU's arm."""
  arms = {name: {**_GRU, **change} for name, change in arms.items()}
  return configuration.updated(config, references={}, agent=agent, arms=arms)


_DELAY = ("delay", 8)
TIME_LIMIT = _of(
  quickstart.FULL,
  {"right": {}, "mistaken": {"bootstrap_truncated": False}},
  env_id="PositionOnlyCartPoleEasy",
  total_steps=204_800,
)
BURN_IN = _of(
  r2d2.FULL, {"right": {}, "mistaken": {"burn_in": 0}}, total_steps=102_400
)
OLD_VIEWS = _of(
  quickstart.FULL,
  {
    "right": {"env_id": "view/RepeatFirstEasy"},
    "mistaken": {"env_id": "RepeatFirstEasy-leaking"},
  },
  env_options=(_DELAY,),
  total_steps=204_800,
)
get_config = variants.Variants(
  time_limit=TIME_LIMIT,
  burn_in=BURN_IN,
  old_views=OLD_VIEWS,
  tiny=quickstart.small(OLD_VIEWS, rollout_length=64, total_steps=6 * 256),
)
