r"""MNIST-1D: ten shapes, shifted and disturbed, 40 points each.

    python -m experiments.classify --config=configs/classify/mnist1d.py \
      --workdir=runs/mnist1d

The data are generated (arXiv:2011.14439). Its authors report 0.91 for a GRU,
0.94 for a convolutional network and 0.32 for logistic regression.

    --config=configs/classify/mnist1d.py:shuffled

applies one fixed permutation to the points: the same authors report 0.57 and
0.56. `:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs import supervised
from configs.classify import _shared

VARIANTS = ("full", "shuffled", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "mnist1d")
  config.network.stack.norm = "layer"
  if variant == "shuffled":
    config.data_options = {"shuffle_time": True}
    config.references = {"GRU of the authors": 0.57, "CNN": 0.56}
    return config
  config.references = {"GRU of the authors": 0.91, "CNN": 0.94}
  if variant == "tiny":
    return supervised.tiny(config, data_options={"train": 20, "test": 20})
  return config
