r"""The files of Python's standard library, byte by byte, of all lengths.

    python -m experiments.documents --workdir=runs/files \
      --config=configs/documents/python.py

A file is a document; longer ones are cut after 4095 bytes. It takes about seven
minutes of a CPU core and ends near 3.6 bits per byte: enough to see that it
trains. The devices are those that there are: `JAX_NUM_CPU_DEVICES=8` makes
eight of a CPU, for the same losses.

    --config=configs/documents/python.py:bible

takes the chapters of the King James Bible (Debian's package bible-kjv), and
`:tiny` shows in seconds whether everything works.
"""

import email
import pathlib

import ml_collections

from configs import blocks
from configs import supervised

VARIANTS = ("python", "bible", "tiny")


def get_config(variant: str = "python") -> ml_collections.ConfigDict:
  config = supervised.base(
    variant, VARIANTS, data="python_source", data_options={"documents": True}
  )
  if variant == "bible":
    config.data = "kjv"
    config.data_options = {"documents": "chapter"}
  config.update(num_updates=200, updates_per_chunk=10, batch_size=16)
  config.update(chunks_per_evaluation=5, chunks_per_checkpoint=5)
  config.update(num_seeds=1, max_length=4096, valid_tokens=65_536)
  # Times in those of a token on one device: a row costs as much as 100 tokens,
  # and the exchange of a state as much as 20 for each further device.
  config.plan = {
    "method": "lpt",
    "tokens_per_device": 0,
    "levels": 3,
    "uniform": True,
    "costs": {
      "row_overhead": 100.0,
      "state_bytes": 10.0,
      "bandwidths": (1.0,),
    },
  }
  config.network = {
    "stack": {
      "d_model": 64,
      "num_layers": 2,
      "norm": "rms",
      "activation": "none",
      "feedforward": "swiglu",
    }
  }
  config.optimizer = supervised.adamw(3e-3, 0.1, warmup_steps=30)
  config.arms = blocks.bare("linear_attention")
  if variant == "tiny":
    config.data_options.root = str(pathlib.Path(email.__file__).parent)
    config.plan.levels = 2
    supervised.tiny(config, "linear_attention", chunks_per_checkpoint=1)
    config.update(batch_size=6, max_length=400, valid_tokens=600)
  return config
