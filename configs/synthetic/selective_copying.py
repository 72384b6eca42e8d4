r"""Selective copying: which tokens to keep depends on the tokens.

    python -m experiments.synthetic --workdir=runs/selective_copying \
      --config=configs/synthetic/selective_copying.py

Eight tokens stand at random places among 112 blanks, and are to be given back
in order (arXiv:2312.00752, section 4.1.1, in a small size). A mixer whose
dynamics do not depend on its inputs cannot tell tokens from blanks; in
`copying.py` the tokens have fixed places, and there it can. `:tiny` learns
nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs import blocks
from configs.synthetic import _shared
from jaxseq import _validate

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.num_updates = 4000
  config.updates_per_chunk = 200
  config.batch_size = 32
  config.task = "selective_copying"
  config.task_options = {"blanks": 112, "memorise": 8, "vocab_size": 16}
  config.network = {"stack": {"d_model": 64, "num_layers": 2, "norm": "rms"}}
  config.optimizer = {"learning_rate": 2e-3, "warmup_steps": 100}
  config.arms = blocks.arms("mamba", "s4")
  config.test_options = {
    "168 blanks": {"blanks": 168},
    "224 blanks": {"blanks": 224},
  }
  if variant == "tiny":
    config.task_options = {"blanks": 6, "memorise": 2, "vocab_size": 8}
    config.test_options = {"longer": {"blanks": 12}}
    return _shared.tiny(config)
  return config
