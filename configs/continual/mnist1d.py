r"""Distorted signals of 40 points (MNIST-1D), two classes at a time.

    python -m experiments.continual --workdir=runs/continual_series \
      --config=configs/continual/mnist1d.py

Mean signals say little about their class here: baselines without training are
low. `:tiny` only checks that everything works.
"""

from configs import variants
from configs.continual import digits
from jaxseq.training import configuration

FULL = configuration.updated(
  digits.FULL, data="mnist1d", budget=120_000, widths=(64, 32)
)
get_config = variants.Variants(
  full=FULL, tiny=configuration.updated(FULL, **digits.TINY)
)
