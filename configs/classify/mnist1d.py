r"""MNIST-1D: ten shapes, shifted and distorted, 40 points each.

    python -m experiments.classify --config=configs/classify/mnist1d.py \
      --workdir=runs/mnist1d

The data are generated (arXiv:2011.14439). Its authors report 0.91 for a GRU,
0.94 for a convolutional network and 0.32 for logistic regression.

    --config=configs/classify/mnist1d.py:shuffled

applies one fixed permutation to the points: the same authors report 0.57 and
0.56. `:tiny` only checks in seconds that everything works.
"""

from configs import supervised
from configs import variants
from configs.classify import _shared
from jaxseq.training import configuration

FULL = _shared.base(
  "mnist1d",
  network={"stack": {"norm": "layer"}},
  references={"GRU of the authors": 0.91, "CNN": 0.94},
)
get_config = variants.Variants(
  full=FULL,
  shuffled=configuration.updated(
    FULL,
    data_options={"shuffle_time": True},
    references={"GRU of the authors": 0.57, "CNN": 0.56},
  ),
  tiny=supervised.tiny(FULL, data_options={"train": 20, "test": 20}),
)
