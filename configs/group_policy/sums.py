r"""Sums of two digits, learned from answers that a program checks.

    python -m experiments.group_policy --workdir=runs/sums \
      --config=configs/group_policy/sums.py

After a few updates on right answers a network solves some prompts. From then on
it is trained only on its own answers. The arm `shuffled` gets the rewards of
other answers, which carry no information. `:tiny` only checks in seconds that
everything works.

    python -m experiments.group_policy --workdir=runs/further \
      --config=configs/group_policy/sums.py:adapters \
      --config.base=runs/sums/mamba2/network.safetensors

resumes from a network of such a run, and trains adapters of its frozen weights
(docs/adapting.md); or all weights, for comparison. Each answer is used in two
updates (`rollout_updates`), with clipped ratios.
"""

import dataclasses

from configs import blocks
from configs import supervised
from configs import variants
from experiments.group_policy import checked_answers

FULL = checked_answers.Config(
  num_updates=2000,
  updates_per_chunk=50,
  warm_updates=200,
  batch_size=16,
  group=8,
  network={"stack": {"d_model": 64, "num_layers": 1}},
  optimizer=supervised.adamw(2e-3, weight_decay=0.0, warmup_steps=20)
  | {"schedule": "constant"},
  num_seeds=3,
  arms=blocks.arms("gru", "mamba2")
  | {"shuffled": blocks.arm("gru") | {"rewards": "shuffled"}},
)
ADAPTERS = dataclasses.replace(
  FULL,
  num_updates=400,
  warm_updates=0,
  rollout_updates=2,
  network={},
  arms={
    "lora": {
      "method": "lora",
      "adapters": {"rank": 4},
      "optimizer": {"learning_rate": 1e-2},
    },
    "full": {"method": "full"},
  },
)
get_config = variants.Variants(
  full=FULL,
  adapters=ADAPTERS,
  tiny=supervised.tiny(FULL, group=2, warm_updates=2),
)
