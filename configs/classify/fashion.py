r"""Fashion-MNIST read row by row or pixel by pixel: 60,000 images.

    python -m experiments.classify --config=configs/classify/fashion.py \
      --workdir=runs/fashion

The images are those of Debian's package dataset-fashion-mnist (`apt-get install
dataset-fashion-mnist`), or of the folder --config.data_options.path=DIR. Rows
are sequences of 28 elements;

    --config=configs/classify/fashion.py:pixel

has sequences of 784, and is meant for a GPU. `:tiny` only checks in seconds
that everything works.
"""

from configs import supervised
from configs import variants
from configs.classify import _shared
from jaxseq.training import configuration

ROW = _shared.base(
  "fashion",
  data_options={"order": "row"},
  num_updates=9000,
  network={"stack": {"norm": "layer", "dropout": 0.1}},
)
get_config = variants.Variants(
  row=ROW,
  pixel=configuration.updated(
    ROW,
    data_options={"order": "pixel"},
    num_updates=90_000,
    network={"stack": {"d_model": 128, "num_layers": 4, "norm": "batch"}},
  ),
  tiny=supervised.tiny(ROW),
)
