r"""The quickstart's comparison on any environment, by its id.

    python -m experiments.icrl \
      --config=configs/icrl/small.py:PositionOnlyCartPoleEasy --workdir=DIR

The ids are those of `jaxseq.rl.envs.names()` and of gymnax. The settings were
chosen on RepeatPreviousEasy; nothing is promised for other environments. Where
observations are numbers of very different sizes,

    --config.agent.normalize_observation=True

shows them to the network less their running mean, in standard deviations.
"""

from configs.icrl import quickstart
from jaxseq.rl import rl_arms
from jaxseq.training import configuration


def get_config(env_id: str = "RepeatFirstEasy") -> rl_arms.Config:
  return configuration.updated(
    quickstart.FULL, agent={"env_id": env_id}, references={}
  )
