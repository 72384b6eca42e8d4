r"""All mixers on MNIST-1D: ten shapes, shifted and distorted, 40 points each.

    python -m experiments.compare --config=configs/compare/mnist1d.py \
      --workdir=runs/compare_mnist1d

arXiv:2011.14439. Its authors report 0.91 for a GRU, 0.94 for a convolutional
network and 0.32 for logistic regression. `:tiny` shows in seconds whether
everything works.
"""

from configs.compare import _shared

KNOWN = {"GRU of the authors": 0.91, "CNN": 0.94}
get_config = _shared.with_tiny(
  _shared.of("mnist1d", num_updates=2500, references=KNOWN)
)
