"""What the comparisons of all mixers share."""

import ml_collections

from configs import blocks
from jaxseq import mixers


def base(task: str, **options: object) -> ml_collections.ConfigDict:
  """Returns the comparison of all mixers on a set of `jaxseq.data`.

  Args:
    task: name of the set.
    **options: of its loader.
  """
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.num_updates = 4000
  config.updates_per_chunk = 100
  config.chunks_per_evaluation = 5
  config.batch_size = 64
  config.kind = "classify"
  config.task = task
  config.task_options = dict(options)
  config.budget = 50_000
  config.network = {
    "stack": {"num_layers": 2, "norm": "layer"},
    "pooling": "mean",
  }
  config.optimizer = {
    "learning_rate": 3e-3,
    "weight_decay": 0.05,
    "warmup_steps": 100,
  }
  config.arms = blocks.arms(*mixers.names())
  return config


def tiny(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Shrinks a comparison to seconds: it learns nothing."""
  config.num_updates = 4
  config.updates_per_chunk = 2
  config.budget = None
  config.network.stack.update(d_model=8, num_layers=1)
  config.optimizer.update(warmup_steps=0)
  config.batch_size = 4
  config.arms = blocks.arms("gru", "lstm")
  return config
