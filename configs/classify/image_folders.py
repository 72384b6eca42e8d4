r"""Pictures of your own, a folder for each class: which class?

    python -m experiments.classify --config=configs/classify/image_folders.py \
      --workdir=runs/leaves --config.data_options.path=leaves \
      --config.data_options.height=32 --config.data_options.width=32

A picture is read row by row. Folders "train" and "test" may hold those of the
classes; otherwise 20 % of each class are for testing and 10 % for validation.
Height and width may be left out if all pictures have one size.

`:pixels` reads pixel by pixel; `:tiny` learns nothing, and shows in seconds
whether the pictures can be used.
"""

import ml_collections

from configs import supervised
from configs.classify import _shared
from jaxseq.programs import own_data

VARIANTS = ("rows", "pixels", "tiny")


def get_config(variant: str = "rows") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "image_folders")
  config.data_options = own_data.images()
  config.update(num_updates=2000, batch_size=16)
  config.optimizer.learning_rate = 2e-3
  if variant == "pixels":
    config.data_options.order = "pixel"
  return supervised.tiny(config) if variant == "tiny" else config
