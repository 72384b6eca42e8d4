r"""Digits of 8 by 8 pixels, two classes at a time.

    python -m experiments.continual --config=configs/continual/digits.py \
      --workdir=runs/continual

Five tasks, and ten seeds as one program. After the last task ProtoCL has an
accuracy of 0.949 among all classes, DER++ 0.933, replay 0.925, ER-ACE 0.914,
fine-tuning 0.194; without training the nearest exemplar in the same bytes has
0.969, and class means 0.883 (docs/results/continual.md). `:tiny` only checks
that everything works.
"""

from configs import supervised
from configs import variants
from experiments.continual import program as continual
from jaxseq.training import configuration

NAMES = "finetune", "ewc", "replay", "er_ace", "derpp", "protocl", "joint"
# With the published ratio of exemplars to new examples, and with as many
# exemplars per update as other methods, which needs no alignment.
MEMO = {"method": "memo", "train_shared": True}
FULL = continual.Config(
  data="digits",
  num_updates=5000,
  updates_per_chunk=250,
  chunks_per_evaluation=4,
  batch_size=16,
  num_seeds=10,
  network={"pooling": "none"},
  optimizer=supervised.adamw(2e-3, weight_decay=0.0),
  arms={name: {"method": name} for name in NAMES}
  | {"memo": MEMO | {"replay": 8}, "memo_balanced": MEMO | {"align": False}},
)
TINY = {
  "num_updates": 10,
  "updates_per_chunk": 2,
  "chunks_per_evaluation": 1,
  "batch_size": 4,
  "num_seeds": 1,
  "arms": {name: {"method": name} for name in ("er_ace", "memo", "protocl")},
}
get_config = variants.Variants(
  full=FULL, tiny=configuration.updated(FULL, **TINY)
)
