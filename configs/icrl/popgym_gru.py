r"""The GRU of the paper's comparison, on any POPGym game we have.

    python -m experiments.icrl \
      --config=configs/icrl/popgym_gru.py:RepeatPreviousHard --workdir=DIR

As `popgym_s5.py` with one GRU of width 256 for memory: same steps, rollouts and
epochs. It has not been run to its end by us, so no result is given.
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
