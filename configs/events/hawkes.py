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

from jaxseq import _validate

VARIANTS = ("hawkes", "poisson", "renewal", "self_correcting", "tiny")


def get_config(variant: str = "hawkes") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.num_updates = 1500
  config.updates_per_chunk = 50
  config.chunks_per_evaluation = 5
  config.batch_size = 32
  config.data = "hawkes" if variant == "tiny" else variant
  config.data_options = {}
  # Only this one depends on the time since the start of a sequence.
  config.time_frequencies = 8 if variant == "poisson" else 0
  config.network = {"stack": {"d_model": 32, "num_layers": 1}}
  config.optimizer = {
    "learning_rate": 3e-3,
    "warmup_steps": 50,
    "weight_decay": 0.01,
  }
  transformer = {
    "num_layers": 2,
    "activation": "none",
    "feedforward": "gelu",
    "dropout": 0.1,
  }
  config.arms = {
    "aaren": {"network": {"stack": {"mixer": "aaren", **transformer}}},
    "attention": {"network": {"stack": {"mixer": "attention", **transformer}}},
    "gru": {"network": {"stack": {"mixer": "gru"}}},
  }
  if variant == "tiny":
    config.num_updates = 4
    config.updates_per_chunk = 2
    config.chunks_per_evaluation = 1
    config.batch_size = 4
    config.data_options = {"train": 8, "valid": 4, "test": 5, "horizon": 8.0}
    config.components = 2
    config.network.stack.update(d_model=8)
    config.optimizer.update(warmup_steps=0)
    config.arms = {"gru": {"network": {"stack": {"mixer": "gru"}}}}
  return config
