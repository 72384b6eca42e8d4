r"""Handwritten digits of 8 by 8 pixels, read pixel by pixel.

    python -m experiments.classify --config=configs/classify/digits.py \
      --workdir=runs/digits

1,797 images that scikit-learn contains, sequences of 64. A linear model on the
whole image gets 0.972.

    --config=configs/classify/digits.py:positions

compares the positions of LightNet, which reads the picture in one scan: MD-TPE
along rows and columns, TPE and LRPE along the 64 pixels, and none.

    --config=configs/classify/digits.py:tiny

shows in seconds whether everything works.
"""

import dataclasses

from configs import blocks
from configs import supervised
from configs import variants
from configs.classify import _shared
from jaxseq.training import configuration

S5 = blocks.bare("s5", mixer_options={"ssm_size": 64})
FULL = dataclasses.replace(
  _shared.base("digits"),
  num_updates=2000,
  chunks_per_evaluation=2,
  optimizer=supervised.adamw(3e-3, 0.01),
  references={"linear model": 0.972},
  arms=S5 | blocks.arms("gru"),
)
SMALL = {"network": {"stack": {"mixer_options": {"ssm_size": 8, "blocks": 1}}}}
get_config = variants.Variants(
  full=FULL,
  positions=configuration.updated(
    FULL,
    num_updates=600,
    num_seeds=3,
    optimizer=supervised.adamw(3e-3, 0.01, warmup_steps=50),
    early_stopping=None,
    network={"stack": {"d_model": 32}},
    arms={
      name: blocks.arm("lightnet", mixer_options={"positions": name, **options})
      for name, options in (
        ("md_tpe", {"grid": (8, 8)}),
        ("tpe", {}),
        ("lrpe", {}),
        ("none", {}),
      )
    },
  ),
  tiny=configuration.updated(
    FULL,
    num_updates=6,
    updates_per_chunk=3,
    network={"stack": {"d_model": 8, "num_layers": 1}},
    arms=configuration.merged(FULL.arms, {"s5": SMALL}),
  ),
)
