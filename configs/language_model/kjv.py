r"""The King James Bible, byte by byte.

    python -m experiments.language_model --workdir=runs/kjv \
      --config=configs/language_model/kjv.py

The text is that of Debian's package bible-kjv (`apt-get install bible-kjv`).
The last 5 % are the test text, which is scored with the network as trained, and
while it learns from what it has scored. To compare with, in bits per byte: 2.27
for an interpolated n-gram of five bytes before; bzip2 needs 1.70 on the whole
text, 1.79 on the test text after the rest (`benchmarks.text_references`).
`--mesh=data=2` uses both cores of a small machine.

    --config=configs/language_model/kjv.py:stdlib

models the source of Python's standard library, which is always there; with
`:tiny` nothing is learnt, and in seconds it shows whether everything works.
"""

import json
import pathlib

import ml_collections

from jaxseq import _validate

VARIANTS = ("full", "stdlib", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 1
  config.num_updates = 3000
  config.updates_per_chunk = 20
  config.chunks_per_evaluation = 10
  config.chunks_per_checkpoint = 10
  config.batch_size = 16
  config.data = "kjv" if variant == "full" else "python_source"
  config.data_options = {}
  config.length = 256
  config.jump_every = 8
  config.test_streams = 1 if variant == "full" else 16
  config.dynamic = {}
  if variant == "full":
    config.dynamic = {"learning_rate": 1e-4, "decay": 1e-3, "length": 64}
  config.network = {
    "stack": {
      "d_model": 192,
      "num_layers": 3,
      "norm": "rms",
      "activation": "none",
      "dropout": 0.1,
    }
  }
  config.optimizer = {
    "learning_rate": 2e-3,
    "warmup_steps": 200,
    "weight_decay": 0.1,
  }
  if variant == "full":
    config.references = {"5-gram": 2.27, "bzip2": 1.70}
  config.arms = {"mamba": {"network": {"stack": {"mixer": "mamba"}}}}
  if variant == "tiny":
    config.num_updates = 4
    config.updates_per_chunk = 2
    config.length = 16
    config.batch_size = 4
    config.valid_tokens = 256
    config.dynamic = {"length": 8, "pieces": 4}
    config.data_options = {"root": str(pathlib.Path(json.__file__).parent)}
    config.network.stack.update(d_model=8, num_layers=1)
    config.optimizer.update(warmup_steps=0)
    config.arms = {"gru": {"network": {"stack": {"mixer": "gru"}}}}
  return config
