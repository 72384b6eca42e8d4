r"""The King James Bible, byte by byte.

    python -m experiments.language_model --workdir=runs/kjv \
      --config=configs/language_model/kjv.py

The text is that of Debian's package bible-kjv (`apt-get install bible-kjv`).
The last 5 % are the test text, which is scored with the trained network, and
with dynamic evaluation. References, in bits per byte: 2.27 for an interpolated
n-gram with five bytes of context; bzip2 needs 1.70 on the whole text, 1.79 on
the test text after the rest (`benchmarks.text_references`). `--mesh=data=2`
uses both cores of a small machine.

    --config=configs/language_model/kjv.py:stdlib

models the source of Python's standard library, which is always available;
`:small` trains a GRU on the Bible in a few minutes of one core, for
hyperparameter searches, and `:attention` two layers of attention to the last
512 bytes, for `benchmarks.thin_keys`; `:hybrid` trains alternating Mamba-2 and
attention layers on Python's source, as a network to adapt
(configs/adapt/texts.py); `:precision` trains small networks on a part of it in
float32 and in bfloat16 (minutes; docs/precision.md), and `:tiny` only checks in
seconds that everything works.
"""

import email
import pathlib

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.programs import language_model
from jaxseq.training import configuration

_IN_BOTH = ("attention", "gru", "linear_attention", "mamba", "s5")
STACK = {"d_model": 192, "num_layers": 3, "norm": "rms", "dropout": 0.1}
STDLIB = language_model.Config(
  data="python_source",
  num_updates=3000,
  updates_per_chunk=20,
  chunks_per_evaluation=10,
  chunks_per_checkpoint=10,
  num_seeds=1,
  jump_every=8,
  test_streams=16,
  network={"stack": {**STACK, "activation": "none"}},
  optimizer=supervised.adamw(2e-3, 0.1, warmup_steps=200),
  arms=blocks.bare("mamba"),
)
get_config = variants.Variants(
  full=configuration.updated(
    STDLIB,
    data="kjv",
    test_streams=1,
    dynamic={"learning_rate": 1e-4, "decay": 1e-3, "length": 64},
    references={"5-gram": 2.27, "bzip2": 1.70},
  ),
  stdlib=STDLIB,
  small=configuration.updated(
    STDLIB,
    data="kjv",
    num_updates=1500,
    batch_size=32,
    length=64,
    network={"stack": {"d_model": 256, "num_layers": 1, "dropout": 0.0}},
    optimizer=supervised.adamw(4e-3, 0.1, warmup_steps=50),
    arms=blocks.bare("gru"),
  ),
  attention=configuration.updated(
    STDLIB,
    data="kjv",
    num_updates=600,
    length=128,
    network={"stack": {"d_model": 128, "num_layers": 2, "dropout": 0.0}},
    optimizer=supervised.adamw(3e-3, 0.1, warmup_steps=50),
    arms={
      "attention": blocks.arm(
        "attention", mixer_options={"heads": 2, "window": 512}
      )
    },
  ),
  hybrid=configuration.updated(
    STDLIB,
    num_updates=300,
    length=128,
    optimizer=supervised.adamw(4e-3, 0.1, warmup_steps=30),
    arms={
      "hybrid": {
        "network": {
          "stack": {
            "mixer": "mamba2",
            "mixer_options": {"d_state": 32, "headdim": 32},
            "hybrid": {"attention": {"heads": 4, "window": 128}},
            "d_model": 128,
            "num_layers": 4,
            "dropout": 0.0,
          }
        }
      }
    },
  ),
  precision=configuration.updated(
    STDLIB,
    data_options={"root": str(pathlib.Path(email.__file__).parent)},
    num_updates=400,
    num_seeds=3,
    batch_size=8,
    length=64,
    valid_tokens=8192,
    network={"stack": {"d_model": 32, "num_layers": 2, "dropout": 0.0}},
    optimizer={"warmup_steps": 50},
    arms={
      f"{name}_{dtype}": blocks.bare(name, dtype=dtype)[name]
      for name in _IN_BOTH
      for dtype in ("float32", "bfloat16")
    },
  ),
  tiny=supervised.tiny_text(STDLIB, dynamic={"length": 8, "pieces": 4}),
)
