r"""The GRU of the paper's comparison, on any POPGym game we have.

    python -m experiments.icrl \
      --config=configs/icrl/popgym_gru.py:RepeatPreviousHard --workdir=DIR

As `popgym_s5.py` with one GRU of width 256 for memory: same steps, rollouts and
epochs. It has not been run to its end by us, so no result is given.
"""

import ml_collections

from configs.icrl import popgym_s5


def get_config(env_id: str = "RepeatPreviousEasy") -> ml_collections.ConfigDict:
  config = popgym_s5.get_config(env_id)
  config.arms = {
    "gru": {
      "network": {
        "stack": {
          "mixer": "gru",
          "d_model": 256,
          "num_layers": 1,
          "activation": "none",
          "residual": False,
        }
      }
    }
  }
  return config
