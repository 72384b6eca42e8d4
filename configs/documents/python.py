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

from jaxseq import _validate

VARIANTS = ("python", "bible", "tiny")


def get_config(variant: str = "python") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_updates = 200
  config.updates_per_chunk = 10
  config.chunks_per_evaluation = 5
  config.chunks_per_checkpoint = 5
  config.batch_size = 16
  config.data = "python_source"
  config.data_options = {"documents": True}
  if variant == "bible":
    config.data = "kjv"
    config.data_options = {"documents": "chapter"}
  config.max_length = 4096
  config.valid_tokens = 65_536
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
  config.optimizer = {
    "learning_rate": 3e-3,
    "warmup_steps": 30,
    "weight_decay": 0.1,
  }
  config.arms = {
    "linear_attention": {"network": {"stack": {"mixer": "linear_attention"}}},
  }
  if variant == "tiny":
    config.num_updates = 4
    config.updates_per_chunk = 2
    config.chunks_per_evaluation = 1
    config.chunks_per_checkpoint = 1
    config.batch_size = 6
    config.max_length = 400
    config.valid_tokens = 600
    config.data_options.root = str(pathlib.Path(email.__file__).parent)
    config.plan.levels = 2
    config.network.stack.update(d_model=8, num_layers=1)
    config.optimizer.update(warmup_steps=0)
  return config
