r"""The files of Python's standard library, byte by byte, of all lengths.

    python -m experiments.documents --workdir=runs/files \
      --config=configs/documents/python.py

A file is a document; longer ones are divided after 4095 bytes. It takes about
seven minutes of a CPU core and ends near 3.6 bits per byte: enough to see that
it trains. It uses all devices: `JAX_NUM_CPU_DEVICES=8` simulates eight on a
CPU, for the same losses.

    --config=configs/documents/python.py:bible

reads the chapters of the King James Bible (Debian's package bible-kjv), and
`:tiny` shows in seconds whether everything works.
"""

import email
import pathlib

from configs import blocks
from configs import supervised
from configs import variants
from experiments.documents import document_plans
from experiments.documents import documents
from jaxseq.training import configuration

# Times relative to a token on one device: a row costs as much as 100 tokens,
# and the exchange of a state as much as 20 for each further device.
COSTS = {"row_overhead": 100.0, "state_bytes": 10.0, "bandwidths": (1.0,)}
STACK = {
  "d_model": 64,
  "num_layers": 2,
  "norm": "rms",
  "activation": "none",
  "feedforward": "swiglu",
}
PYTHON = documents.Config(
  data="python_source",
  data_options={"documents": True},
  num_updates=200,
  updates_per_chunk=10,
  batch_size=16,
  chunks_per_evaluation=5,
  chunks_per_checkpoint=5,
  max_length=4096,
  plan=document_plans.PlanConfig(costs=COSTS),
  network={"stack": STACK},
  optimizer=supervised.adamw(3e-3, 0.1, warmup_steps=30),
  arms=blocks.bare("linear_attention"),
)
get_config = variants.Variants(
  python=PYTHON,
  bible=configuration.updated(
    PYTHON, data="kjv", data_options={"documents": "chapter"}
  ),
  tiny=supervised.tiny(
    PYTHON,
    "linear_attention",
    data_options={"root": str(pathlib.Path(email.__file__).parent)},
    plan={"levels": 2},
    chunks_per_checkpoint=1,
    batch_size=6,
    max_length=400,
    valid_tokens=600,
  ),
)
