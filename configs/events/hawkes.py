r"""A Hawkes process with three marks, whose likelihood is known.

    python -m experiments.events --config=configs/events/hawkes.py \
      --workdir=runs/hawkes

2,000 training sequences of about 45 events. The process itself is the line to
reach: a good model comes closer than 0.05 nats per event.

    --config=configs/events/hawkes.py:tiny

learns nothing, and shows in seconds whether everything works. The files
`poisson.py`, `renewal.py` and `self_correcting.py` have the same for other
processes, with one mark each.
"""

import ml_collections

from configs import blocks
from configs import supervised
from jaxseq import _validate

VARIANTS = ("hawkes", "poisson", "renewal", "self_correcting", "tiny")


def get_config(variant: str = "hawkes") -> ml_collections.ConfigDict:
  data = "hawkes" if variant == "tiny" else variant
  config = supervised.base(variant, VARIANTS, data=data, data_options={})
  config.update(num_updates=1500, updates_per_chunk=50, batch_size=32)
  config.chunks_per_evaluation = 5
  # Only this one depends on the time since the start of a sequence.
  config.time_frequencies = 8 if variant == "poisson" else 0
  config.network = {"stack": {"d_model": 32, "num_layers": 1}}
  config.optimizer = supervised.adamw(3e-3, 0.01, warmup_steps=50)
  transformer = {**blocks.TRANSFORMER, "num_layers": 2, "dropout": 0.1}
  transformers = blocks.bare("aaren", "attention", **transformer)
  config.arms = transformers | blocks.bare("gru")
  if variant == "tiny":
    config.data_options = {"train": 8, "valid": 4, "test": 5, "horizon": 8.0}
    supervised.tiny(config, components=2)
  return config


def of_process(name: str, variant: str) -> ml_collections.ConfigDict:
  """Returns the config of a process, "full" or "tiny"."""
  _validate.choice("variant", variant, ("full", "tiny"))
  config = get_config(name if variant == "full" else variant)
  config.data = name
  return config
