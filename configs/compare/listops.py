r"""All mixers on short ListOps: nested lists of digits, 51 to 199 tokens.

    python -m experiments.compare --config=configs/compare/listops.py \
      --workdir=runs/compare_listops

Expressions are generated and kept in the data folder. Some values are commoner
than others: the floor is the share of the commonest, about 0.2. `:tiny` shows
in seconds whether everything works.
"""

from configs.compare import _shared

FULL = _shared.of(
  "listops",
  task_options={"size": "small"},
  num_updates=1000,
  batch_size=32,
  optimizer={"learning_rate": 2e-3},
)
get_config = _shared.with_tiny(FULL, train=20, valid=5, test=10, cached=False)
