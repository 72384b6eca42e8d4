r"""Classification of event streams by process, two processes at a time.

    python -m experiments.continual --workdir=runs/continual_events \
      --config=configs/continual/event_origins.py

Six Hawkes processes, which differ only in the excitation between kinds of
events; a GRU reads gaps and kinds. After the last task replay and ProtoCL have
an accuracy of 0.73 among all six, joint training 0.85 and fine-tuning 0.32, the
nearest exemplar, without training, 0.24 (docs/results/continual.md).
`:tables` reads your own tables, one class each
(`--config.data_options.paths='("a.csv", "b.csv")'`). `:tiny` only checks that
everything works.
"""

import dataclasses

from configs import variants
from configs.continual import digits
from configs.continual import mnist_rows
from jaxseq.training import configuration

FULL = dataclasses.replace(
  mnist_rows.FULL,
  data="event_origins",
  data_options={},
  tasks=3,
  num_updates=1800,
  num_seeds=2,
  budget=60_000,
)
get_config = variants.Variants(
  full=FULL,
  tables=dataclasses.replace(
    FULL, data_options={"paths": ("a.csv", "b.csv")}, tasks=2
  ),
  tiny=configuration.updated(
    dataclasses.replace(
      FULL,
      data_options={"train": 20, "test": 10, "horizon": 6.0, "length": 8},
    ),
    **digits.TINY | {"num_updates": 12},
  ),
)
