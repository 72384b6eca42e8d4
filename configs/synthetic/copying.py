r"""Plain copying: ten tokens, a hundred blanks, and the ten tokens again.

    python -m experiments.synthetic --config=configs/synthetic/copying.py \
      --workdir=runs/copying

The tokens always stand at the same places, so that a mixer whose dynamics do
not depend on its inputs can learn it (arXiv:2111.00396); after the training,
the table shows what becomes of longer gaps. `selective_copying.py` has them at
random places. `:tiny` learns nothing, and shows in seconds whether everything
works.
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
  config.num_updates = 1000
  config.updates_per_chunk = 50
  config.batch_size = 32
  config.task = "copying"
  config.task_options = {"blanks": 100, "memorise": 10, "vocab_size": 10}
  config.network = {"stack": {"d_model": 64, "num_layers": 2, "norm": "layer"}}
  config.optimizer = {"learning_rate": 2e-3, "warmup_steps": 100}
  config.arms = blocks.arms("s4", "s4d", "gru", "mamba")
  config.test_options = {
    "200 blanks": {"blanks": 200},
    "400 blanks": {"blanks": 400},
  }
  if variant == "tiny":
    config.task_options = {"blanks": 6, "memorise": 2, "vocab_size": 8}
    config.test_options = {"longer": {"blanks": 12}}
    return _shared.tiny(config)
  return config
