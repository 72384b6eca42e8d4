r"""Classification of your own pictures, a folder for each class.

    python -m experiments.classify --config=configs/classify/image_folders.py \
      --workdir=runs/leaves --config.data_options.path=leaves \
      --config.data_options.height=32 --config.data_options.width=32

A picture is read row by row. Folders "train" and "test" may contain the class
folders; otherwise 20 % of each class are for testing and 10 % for validation.
Height and width may be left out if all pictures have one size.

`:pixels` reads pixel by pixel; `:tiny` only checks in seconds whether the
pictures can be used.
"""

from configs import supervised
from configs import variants
from configs.classify import _shared
from jaxseq.programs import own_data
from jaxseq.training import configuration

ROWS = _shared.own(
  "image_folders", **own_data.of_loader("image_folders", path="data")
)
get_config = variants.Variants(
  rows=ROWS,
  pixels=configuration.updated(ROWS, data_options={"order": "pixel"}),
  tiny=supervised.tiny(ROWS),
)
