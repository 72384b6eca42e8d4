r"""ListOps: the value of nested lists of digits under MIN, MAX, MED and SM.

    python -m experiments.classify --config=configs/classify/listops.py \
      --workdir=runs/listops

Short expressions of 51 to 199 tokens, generated and kept in the data folder.
Some values are more common than others: the baseline is the share of the most
common, about 0.2. The Long Range Arena's own size is in `lra.py`. `:tiny` only
checks in seconds that everything works.
"""

from configs import supervised
from configs import variants
from configs.classify import _shared
import experiments.lra  # noqa: F401

FULL = _shared.base(
  "listops",
  data_options={"size": "small"},
  num_updates=10_000,
  network={"stack": {"d_model": 96, "num_layers": 4, "norm": "layer"}},
  optimizer={"learning_rate": 2e-3, "weight_decay": 0.05},
)
SMALL = {"train": 20, "valid": 5, "test": 10, "cached": False}
get_config = variants.Variants(
  full=FULL, tiny=supervised.tiny(FULL, data_options=SMALL)
)
