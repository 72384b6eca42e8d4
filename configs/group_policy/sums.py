r"""Sums of two digits, learnt from answers that a program checks.

    python -m experiments.group_policy --workdir=runs/sums \
      --config=configs/group_policy/sums.py

A network that has seen right answers for a few updates gets some prompts right.
From then on it learns from its own answers alone. The arm `shuffled` gets the
rewards of other answers, which teach nothing. `:tiny` learns nothing, and shows
in seconds whether everything works.

    python -m experiments.group_policy --workdir=runs/further \
      --config=configs/group_policy/sums.py:adapters \
      --config.base=runs/sums/mamba2/network.safetensors

resumes from a network of such a run, and trains adapters beside its weights
(docs/adapting.md), which stay as they are; or all of them, for comparison. Each
answer is learned from twice (`rollout_updates`), by clipped ratios.
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
