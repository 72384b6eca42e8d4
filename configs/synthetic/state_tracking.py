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
from jaxseq.data.tokens import group_words

VARIANTS = (*group_words.GROUPS, "tiny")


def get_config(variant: str = "A5") -> ml_collections.ConfigDict:
  group = "S3" if variant == "tiny" else variant
  task = {"group": group, "alphabet": "generators", "min_length": 3}
  config = _shared.base(variant, VARIANTS, "group_words", **task, max_length=32)
  config.update(num_updates=3000, updates_per_chunk=200, batch_size=64)
  config.optimizer.update(weight_decay=0.01, warmup_steps=200)
  config.arms = blocks.arms("lstm", "slstm", "mamba", "s5")
  config.test_options = {
    f"{length}": {"min_length": length, "max_length": length}
    for length in (32, 64, 128)
  }
  if variant == "tiny":
    longer = {"min_length": 12, "max_length": 12}
    return _shared.tiny(config, {"max_length": 6}, longer)
  return config
