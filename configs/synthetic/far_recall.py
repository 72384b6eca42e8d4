r"""Associative recall beyond a window, by attention and by routing.

    python -m experiments.synthetic --config=configs/synthetic/far_recall.py \
      --workdir=runs/far_recall

The task of `mqar.py` with 64 tokens: 8 pairs in sequences of 64. The arms are
full attention; attention to 16 elements, including the current one; and
routing, in which half of the heads see these, and half the last 16 of one of 4
clusters. `:tiny` only checks in seconds that everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import _shared

FULL = _shared.base(
  "mqar",
  {"length": 64, "pairs": 8, "vocab_size": 64},
  optimizer={"weight_decay": 0.1, "warmup_steps": 200},
  num_updates=3000,
  num_seeds=1,
  updates_per_chunk=200,
  batch_size=64,
  arms={
    "attention": blocks.arm("attention"),
    "attention_16": blocks.arm("attention", mixer_options={"window": 15}),
    "routing": blocks.arm(
      "routing", mixer_options={"window": 16, "clusters": 4}
    ),
  },
  test_options={"length 128": {"length": 128}},
)
SMALL = {"length": 8, "pairs": 2, "vocab_size": 8}
get_config = variants.Variants(
  full=FULL, tiny=_shared.tiny(FULL, SMALL, longer={"length": 12})
)
