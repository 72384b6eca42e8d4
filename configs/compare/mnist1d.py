"""All mixers on MNIST-1D: ten shapes, shifted and disturbed, 40 points each.

    python -m experiments.compare --config=configs/compare/mnist1d.py \
      --workdir=runs/compare_mnist1d

arXiv:2011.14439. Its authors report 0.91 for a GRU, 0.94 for a convolutional
network and 0.32 for logistic regression. `:tiny` shows in seconds whether
everything works.
"""

import ml_collections

from configs.compare import _shared
from jaxseq import mixers


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  if variant not in ("full", "tiny"):
    raise ValueError(f"variant: got {variant!r}, expected 'full' or 'tiny'.")
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.num_updates = 4000
  config.updates_per_chunk = 100
  config.chunks_per_evaluation = 5
  config.batch_size = 64
  config.kind = "classify"
  config.task = "mnist1d"
  config.budget = 50_000
  config.network = {"num_layers": 2, "norm": "layer", "pooling": "mean"}
  config.optimizer = {
    "learning_rate": 3e-3,
    "weight_decay": 0.05,
    "warmup_steps": 100,
  }
  config.references = {"GRU of the authors": 0.91, "CNN": 0.94}
  config.arms = _shared.arms(mixers.names())
  return _shared.tiny(config) if variant == "tiny" else config
