r"""Fashion-MNIST read row by row or pixel by pixel: 60,000 images.

    python -m experiments.classify --config=configs/classify/fashion.py \
      --workdir=runs/fashion

The images are those of Debian's package dataset-fashion-mnist (`apt-get install
dataset-fashion-mnist`), or of the folder --config.data_options.path=DIR. Rows
are sequences of 28 elements;

    --config=configs/classify/fashion.py:pixel

has sequences of 784, and is meant for a GPU. `:tiny` learns nothing, and shows
in seconds whether everything works.
"""

import ml_collections

from configs import supervised
from configs.classify import _shared

VARIANTS = ("row", "pixel", "tiny")


def get_config(variant: str = "row") -> ml_collections.ConfigDict:
  order = "pixel" if variant == "pixel" else "row"
  config = _shared.base(variant, VARIANTS, "fashion", order=order)
  config.num_updates = 9000
  config.network.stack.update(norm="layer", dropout=0.1)
  if variant == "pixel":
    config.num_updates = 90_000
    config.network.stack.update(d_model=128, num_layers=4, norm="batch")
  return supervised.tiny(config) if variant == "tiny" else config
