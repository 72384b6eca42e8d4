r"""Induction heads: trained at length 256, tested at 64 to 32,768.

    python -m experiments.synthetic \
      --config=configs/synthetic/induction.py:mamba --workdir=runs/induction

One special token is at a random position among random tokens, and again at the
end; the target is the token that followed it. The setting of arXiv:2312.00752,
section 4.1.2: vocabulary 16, two layers of width 64; but fewer and larger
updates. The accuracy is that of the last element; chance is 1 of 15, where
Mamba stays for about 4,000 updates. A thousand of them take about three minutes
on two cores, with `--mesh=data=2`. Without `:mamba` attention and S5 are
trained, too.

    --config=configs/synthetic/induction.py:paper

has the batches of 8, the constant learning rate of 1e-3 and the 204,800 updates
of the paper, which reports Mamba as perfect at every length, while attention
with rotary positions falls to 0.31 at 1,024. `:tiny` only checks in seconds
that everything works.
"""

import dataclasses

from configs import blocks
from configs import variants
from configs.synthetic import _shared
from jaxseq.training import configuration

PLAIN = {"name": "plain", "learning_rate": 1e-3, "schedule": "constant"}
FULL = _shared.base(
  "induction",
  {"length": 256, "vocab_size": 16},
  "rms",
  num_updates=10_000,
  updates_per_chunk=100,
  num_seeds=1,
  chunks_per_evaluation=5,
  further_batch_size=4,
  further_batches=32,
  arms=blocks.arms("mamba", "attention", "s5"),
  test_options={f"{2**i:,}": {"length": 2**i} for i in (6, 8, 10, 12, 14, 15)},
)
get_config = variants.Variants(
  full=FULL,
  mamba=configuration.updated(FULL, arms=blocks.arms("mamba")),
  paper=dataclasses.replace(
    FULL,
    num_updates=204_800,
    updates_per_chunk=512,
    batch_size=8,
    optimizer=PLAIN,
  ),
  tiny=_shared.tiny(
    FULL, {"length": 8, "vocab_size": 4}, longer={"length": 16}
  ),
)
