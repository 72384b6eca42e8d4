r"""Handwritten digits of 8 by 8 pixels, read pixel by pixel.

    python -m experiments.classify --config=configs/classify/digits.py \
      --workdir=runs/digits

1,797 images that scikit-learn contains, sequences of 64. A linear model on the
whole image gets 0.972.

    --config=configs/classify/digits.py:tiny

shows in seconds whether everything works.
"""

import ml_collections

from configs import blocks
from configs import supervised
from configs.classify import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "digits")
  config.update(num_updates=2000, chunks_per_evaluation=2)
  config.optimizer = supervised.adamw(3e-3, 0.01)
  config.references = {"linear model": 0.972}
  s5 = blocks.bare("s5", mixer_options={"ssm_size": 64})
  config.arms = s5 | blocks.arms("gru")
  if variant == "tiny":
    config.update(num_updates=6, updates_per_chunk=3)
    config.network.stack.update(d_model=8, num_layers=1)
    config.arms.s5.network.stack.mixer_options.update(ssm_size=8, blocks=1)
  return config
