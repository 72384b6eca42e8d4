r"""All mixers on MNIST-1D: ten shapes, shifted and disturbed, 40 points each.

    python -m experiments.compare --config=configs/compare/mnist1d.py \
      --workdir=runs/compare_mnist1d

arXiv:2011.14439. Its authors report 0.91 for a GRU, 0.94 for a convolutional
network and 0.32 for logistic regression. `:tiny` shows in seconds whether
everything works.
"""

import ml_collections

from configs.compare import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "mnist1d")
  config.num_updates = 2500
  config.references = {"GRU of the authors": 0.91, "CNN": 0.94}
  return _shared.tiny(config) if variant == "tiny" else config
