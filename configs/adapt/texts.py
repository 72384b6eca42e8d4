r"""A network of one text, adapted to another by all weights or adapters.

    python -m experiments.language_model --workdir=runs/python \
      --config=configs/language_model/kjv.py:hybrid
    python -m experiments.adapt --workdir=runs/adapted \
      --config=configs/adapt/texts.py --config.base=runs/python/hybrid

The base was trained on Python's standard library; it is adapted to the King
James Bible (Debian's package bible-kjv). The arms train all weights, adapters
of all products in its layers, or only adapters of its attention, which is every
second layer. All take the same updates; the learning rate of adapters is ten
times that of weights. Expected for a base of two layers of width 64 after 200
updates of 8 x 128 bytes of Genesis (docs/results/adapting.md): 2.69 bits per
byte of the test text with all weights, 2.72 with adapters of all products and
3.27 with those of attention alone; 3.99 before.

Variants: `states`, where each chunk is a separate text, and initial states are
tuned, too, alone and with adapters; `text`, for your own text
(`--config.data_options.path=notes.txt` and `--config.base=DIR`, which may be a
directory of a pretrained model), and `text_states`; `tiny`, which only checks
in seconds that everything works.
"""

from configs import supervised
from configs import variants
from jaxseq.programs import adapt
from jaxseq.programs import own_data
from jaxseq.training import configuration

FULL = adapt.Config(
  data="kjv",
  num_updates=300,
  updates_per_chunk=20,
  chunks_per_evaluation=5,
  chunks_per_checkpoint=5,
  num_seeds=3,
  batch_size=16,
  length=128,
  jump_every=8,
  valid_tokens=32_768,
  optimizer=supervised.adamw(1e-3, warmup_steps=30),
  arms={
    "full": {"method": "full"},
    "lora": {"optimizer": {"learning_rate": 1e-2}},
    "attention": {
      "adapters": {"targets": ("W_q", "W_k", "W_v", "W_o")},
      "optimizer": {"learning_rate": 1e-2},
    },
  },
)
STATES = configuration.updated(
  FULL,
  fresh=True,
  arms={
    **FULL.arms,
    "states": {
      "method": "states",
      "optimizer": {"learning_rate": 3e-2},
    },
    "lora_states": {
      "method": "lora+states",
      "optimizer": {"learning_rate": 1e-2},
    },
  },
)
# The untrained base of test runs.
UNTRAINED = {
  "stack": {
    "mixer": "mamba2",
    "mixer_options": {"d_state": 4, "headdim": 8},
    "hybrid": {"attention": {"heads": 2, "window": 8}},
    "d_model": 8,
    "num_layers": 2,
  }
}
OWN = {
  "data": "text_files",
  "data_options": own_data.text(),
  "num_seeds": 1,
}
get_config = variants.Variants(
  full=FULL,
  states=STATES,
  text=configuration.updated(FULL, **OWN),
  text_states=configuration.updated(STATES, **OWN),
  tiny=supervised.tiny_text(FULL, arms=FULL.arms, network=UNTRAINED),
)
