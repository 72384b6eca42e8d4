r"""Handwritten digits of 8 by 8 pixels, read pixel by pixel.

    python -m experiments.classify --config=configs/classify/digits.py \
      --workdir=runs/digits

1,797 images that scikit-learn contains, sequences of 64. A linear model on the
whole image gets 0.972.

    --config=configs/classify/digits.py:tiny

shows in seconds whether everything works.
"""

import ml_collections

from jaxseq import _validate

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.num_updates = 2000
  config.updates_per_chunk = 100
  config.batch_size = 64
  config.data = "digits"
  config.network = {
    "stack": {"d_model": 64, "num_layers": 2},
    "pooling": "mean",
  }
  config.optimizer = {"learning_rate": 3e-3, "weight_decay": 0.01}
  config.references = {"linear model": 0.972}
  config.arms = {
    "s5": {
      "network": {"stack": {"mixer": "s5", "mixer_options": {"ssm_size": 64}}}
    },
    "gru": {"network": {"stack": {"mixer": "gru"}}},
  }
  if variant == "tiny":
    config.num_updates = 6
    config.updates_per_chunk = 3
    config.network.stack.update(d_model=8, num_layers=1)
    config.arms.s5.network.stack.mixer_options.update(ssm_size=8, blocks=1)
  return config
