r"""Pathfinder: are two discs on the same dashed path? Images as sequences.

    python -m experiments.classify --config=configs/classify/pathfinder.py \
      --workdir=runs/pathfinder

Images of 32 by 32 pixels, sequences of 1,024, generated and cached in the data
folder; 16,000 for training, a tenth of the Long Range Arena's, whose full size
is in `lra.py`. Chance is 0.5, and most networks need many epochs to exceed it.
Meant for a GPU. `:tiny` only checks in seconds that everything works.
"""

from configs import supervised
from configs import variants
from configs.classify import _shared
import experiments.lra  # noqa: F401

FULL = _shared.base(
  "pathfinder",
  data_options={"size": 32, "train": 16_000, "valid": 2000, "test": 2000},
  num_updates=50_000,
  network={
    "stack": {"d_model": 128, "num_layers": 6, "norm": "batch", "dropout": 0.05}
  },
  optimizer={"learning_rate": 4e-3, "warmup_steps": 500},
  references={"chance": 0.5},
  arms={"s5": {"network": {"stack": _shared.s5_paper(256, 8)}}},
)
SMALL = {"train": 8, "valid": 4, "test": 6, "cached": False}
get_config = variants.Variants(
  full=FULL, tiny=supervised.tiny(FULL, data_options=SMALL)
)
