r"""The quickstart's comparison on any environment, by its id.

    python -m experiments.icrl \
      --config=configs/icrl/small.py:PositionOnlyCartPoleEasy --workdir=DIR

The ids are those of `jaxseq.rl.envs.names()` and of gymnax. The settings were
chosen on RepeatPreviousEasy; nothing is promised for other environments. Where
observations are numbers of very different sizes,

    --config.agent.normalize_observation=True

shows them to the network less their running mean, in standard deviations.
"""

import ml_collections

from configs.icrl import quickstart


def get_config(env_id: str = "RepeatFirstEasy") -> ml_collections.ConfigDict:
  config = quickstart.get_config()
  config.agent.env_id = env_id
  config.references = {}
  return config
