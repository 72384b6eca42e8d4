r"""A problem of the UEA archive of multivariate time series.

    python -m experiments.classify --config=configs/classify/uea.py \
      --workdir=runs/heartbeat \
      --config.data_options.train_path=/data/Heartbeat_TRAIN.ts \
      --config.data_options.test_path=/data/Heartbeat_TEST.ts

The files are not part of this project (timeseriesclassification.com). Compares
Aaren with the Transformer it replaces, in the setting of arXiv:2405.13956. The
argument is the name of a problem included in the package aeon, which needs no
files:

    --config=configs/classify/uea.py:japanese_vowels

also basic_motions, italy_power_demand, gunpoint, osuleaf and others that
`jaxseq.data.names()` lists. `:tiny` only checks in seconds whether the files
can be read.
"""

from configs import blocks
from configs import supervised
from configs.classify import _shared
from jaxseq.programs import classify

FILES = {
  "train_path": "data/Heartbeat_TRAIN.ts",
  "test_path": "data/Heartbeat_TEST.ts",
}


def get_config(variant: str = "uea") -> classify.Config:
  data = "uea" if variant == "tiny" else variant
  # `jaxseq.data` checks the name.
  config = _shared.base(
    data,
    data_options=FILES if data == "uea" else {},
    num_seeds=5,
    num_updates=2000,
    batch_size=16,
    network={
      "stack": {
        "norm": "layer",
        "prenorm": False,
        "dropout": 0.1,
        **blocks.TRANSFORMER,
      }
    },
    optimizer={"learning_rate": 1e-3},
    arms=blocks.bare("aaren", "attention"),
  )
  return supervised.tiny(config) if variant == "tiny" else config
