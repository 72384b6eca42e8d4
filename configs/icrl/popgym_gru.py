r"""The GRU of the paper's comparison, on any available POPGym game.

    python -m experiments.icrl \
      --config=configs/icrl/popgym_gru.py:RepeatPreviousHard --workdir=DIR

Like `popgym_s5.py` with one GRU of width 256 as memory: same steps, rollouts
and epochs. We have not run it to its end, so no result is given.
"""

from configs.icrl import popgym_s5
from configs.icrl import quickstart
from jaxseq.rl import rl_arms
from jaxseq.training import configuration


def get_config(env_id: str = "RepeatPreviousEasy") -> rl_arms.Config:
  stack = {**quickstart.GRU, "d_model": 256}
  return configuration.updated(
    popgym_s5.get_config(env_id), arms={"gru": {"network": {"stack": stack}}}
  )
