r"""All mixers on short ListOps: nested lists of digits, 51 to 199 tokens.

    python -m experiments.compare --config=configs/compare/listops.py \
      --workdir=runs/compare_listops

Expressions are generated and cached in the data folder. Some values are more
common than others: the baseline is the share of the most common, about 0.2.
`:tiny` shows in seconds whether everything works.
"""

from configs.compare import _shared
import experiments.lra  # noqa: F401

FULL = _shared.of(
  "listops",
  task_options={"size": "small"},
  num_updates=1000,
  batch_size=32,
  optimizer={"learning_rate": 2e-3},
)
get_config = _shared.with_tiny(FULL, train=20, valid=5, test=10, cached=False)
