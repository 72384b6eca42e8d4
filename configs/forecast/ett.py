r"""The long-horizon benchmark: ETTh1 or another table of the same form.

    python -m experiments.forecast --workdir=runs/etth1 \
      --config=configs/forecast/ett.py \
      --config.data_options.path=/data/ETTh1.csv

The csv file is not part of this project (zhouhaoyi/ETDataset on GitHub). ETT
files are split by months, others by shares of 70, 10 and 20 %, as in the
Time-Series-Library. Compares Aaren with the Transformer it replaces, in the
setting of arXiv:2405.13956: input length 96, four horizons, normalized input.
We have not run it to its end, so no result is given.

    --config=configs/forecast/ett.py:tiny

only checks in seconds whether the file can be used.
"""

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.programs import forecast

FULL = forecast.Config(
  data="ett",
  data_options={"path": "data/ETTh1.csv"},
  num_updates=2500,
  num_seeds=5,
  chunks_per_evaluation=5,
  input_length=96,
  horizons=(96, 192, 336, 720),
  period=24,
  channels="mixed",
  network={
    "stack": {
      "d_model": 512,
      "num_layers": 2,
      "norm": "layer",
      "prenorm": False,
      **blocks.TRANSFORMER,
      "feedforward_width": 2048,
      "dropout": 0.1,
    },
    "pooling": "last",
  },
  optimizer=supervised.adamw(1e-4),
  arms=blocks.bare("aaren", "attention", mixer_options={"heads": 8}),
)
get_config = variants.Variants(
  full=FULL,
  tiny=supervised.tiny(
    FULL,
    num_seeds=1,
    horizons=(8,),
    input_length=24,
    network={"stack": {"feedforward_width": 16}},
  ),
)
