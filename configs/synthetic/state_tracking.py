r"""State tracking: the product of a word in a group, at every element.

    python -m experiments.synthetic --workdir=runs/state_tracking \
      --config=configs/synthetic/state_tracking.py

Words of up to 32 elements over two generators of A_5, the smallest group that
is not solvable; tests have words of up to 128. A diagonal linear recurrence of
fixed depth can not follow A_5 as words grow (arXiv:2404.08819), an LSTM can.
With --config.task_options.alphabet=all the words are over all 60 elements, and
an LSTM needs many more updates.

    --config=configs/synthetic/state_tracking.py:S3

takes another group: S3 (solvable, 6 elements), Z60 (commutative), A4xZ5 or S5.
`:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs import blocks
from configs.synthetic import _shared
from jaxseq import _validate
from jaxseq.data.tokens import group_words

VARIANTS = (*group_words.GROUPS, "tiny")


def get_config(variant: str = "A5") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.num_updates = 3000
  config.updates_per_chunk = 200
  config.batch_size = 64
  config.task = "group_words"
  config.task_options = {
    "group": "S3" if variant == "tiny" else variant,
    "alphabet": "generators",
    "min_length": 3,
    "max_length": 32,
  }
  config.network = {"stack": {"d_model": 64, "num_layers": 2, "norm": "layer"}}
  config.optimizer = {
    "learning_rate": 2e-3,
    "weight_decay": 0.01,
    "warmup_steps": 200,
  }
  config.arms = blocks.arms("lstm", "slstm", "mamba", "s5")
  config.test_options = {
    f"{length}": {"min_length": length, "max_length": length}
    for length in (32, 64, 128)
  }
  if variant == "tiny":
    config.task_options.update(max_length=6)
    config.test_options = {"12": {"min_length": 12, "max_length": 12}}
    return _shared.tiny(config)
  return config
