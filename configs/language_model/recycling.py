r"""Small models of bytes, whose texts `benchmarks.recycling` generates.

    python -m experiments.language_model --workdir=runs/recycling/kjv \
      --config=configs/language_model/recycling.py

Two layers of about 150,000 parameters in the block of each mixer's paper. The
text is that of Debian's package bible-kjv (`apt-get install bible-kjv`); with

    --config=configs/language_model/recycling.py:stdlib

it is the source of Python's standard library, which is always there. Each takes
some five minutes of one core. With `:wide` the Bible is read by layers of width
512, in which the weights are what a pass costs (a quarter of an hour). `:tiny`
learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs import blocks
from configs import supervised

VARIANTS = ("kjv", "stdlib", "wide", "tiny")
_WIDTHS = {"attention": 72, "gated_deltanet": 64}
_OPTIONS = {"attention": {"window": 256}}
# Of narrow layers.
_SMALL = {"mamba2": {"d_state": 16, "headdim": 16}}


def get_config(variant: str = "kjv") -> ml_collections.ConfigDict:
  wide = variant == "wide"
  data = "kjv" if variant == "kjv" or wide else "python_source"
  config = supervised.base(variant, VARIANTS, data=data, data_options={})
  config.update(num_updates=300, updates_per_chunk=50, batch_size=16)
  config.update(chunks_per_evaluation=100, chunks_per_checkpoint=100)
  config.update(num_seeds=1, length=128, jump_every=8, test_streams=16)
  config.network = {"stack": {"num_layers": 2, "norm": "rms"}}
  rate = 1e-3 if wide else 4e-3
  config.optimizer = supervised.adamw(rate, 0.1, warmup_steps=30)
  if variant == "tiny":
    return supervised.tiny_text(config)
  config.arms = blocks.arms(
    "attention", "gated_deltanet", "gru", "mamba2", "s5"
  )
  for name, arm in config.arms.items():
    width = 512 if wide else _WIDTHS.get(name, 88)
    options = _OPTIONS if wide else _OPTIONS | _SMALL
    arm.network.stack.update(d_model=width, mixer_options=options.get(name, {}))
  return config
