r"""Next activities in event logs, compared with counting baselines.

    python -m experiments.next_element --workdir=runs/receipt \
      --config=configs/next_element/logs.py \
      --config.data_options.path=receipt.csv

A log is a CSV or XES file; `jaxseq.data.sources.logs` names the sources of
Receipt and BPI'12. A third of the cases is for testing, and a fifth of the
others for validation. `:bpi12` has the options of BPI'12, in which symbols are
activities with their transitions
(`--config.data_options.path=bpic2012.xes.gz`); `:tiny` only checks in seconds
on a synthetic log that the program works.
"""

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.programs import own_data
from jaxseq.tasks import next_element
from jaxseq.training import configuration

MADE = next_element.Config(
  data="loans",
  num_updates=1000,
  updates_per_chunk=25,
  chunks_per_evaluation=2,
  early_stopping=8,
  batch_size=32,
  num_seeds=3,
  network={"stack": {"d_model": 64, "num_layers": 1, "dropout": 0.2}},
  optimizer=supervised.adamw(3e-3, warmup_steps=50),
  arms=blocks.arms("gru", "lstm", "mamba", "s5"),
)
RECEIPT = configuration.updated(
  MADE,
  data="event_log",
  data_options={**own_data.of_loader("event_log"), "path": "receipt.csv"},
)
get_config = variants.Variants(
  receipt=RECEIPT,
  bpi12=configuration.updated(
    RECEIPT,
    data_options={"path": "bpic2012.xes.gz", "transitions": True},
    num_updates=3000,
  ),
  tiny=supervised.tiny(MADE, early_stopping=0, num_seeds=1),
)
