r"""The quickstart's comparison on any environment, by its id.

    python -m experiments.icrl \
      --config=configs/icrl/small.py:PositionOnlyCartPoleEasy --workdir=DIR

The ids are those of `jaxseq.rl.envs.names()` and of gymnax. The settings were
chosen on RepeatPreviousEasy, and may not suit other environments. If
observations are numbers of very different sizes,

    --config.agent.normalize_observation=True

standardizes them by their running mean and deviation.
"""

from configs.icrl import quickstart
from jaxseq.rl import rl_arms
from jaxseq.training import configuration


def get_config(env_id: str = "RepeatFirstEasy") -> rl_arms.Config:
  return configuration.updated(
    quickstart.FULL, agent={"env_id": env_id}, references={}
  )
