"""What the comparisons of all mixers share."""

from collections.abc import Sequence

import ml_collections

from configs import blocks
from configs import supervised
from jaxseq import mixers


def base(
  variant: str, variants: Sequence[str], task: str, **options: object
) -> ml_collections.ConfigDict:
  """Returns the comparison of all mixers on a set of `jaxseq.data`.

  Args:
    variant: what is asked for.
    variants: what there is.
    task: name of the set.
    **options: of its loader.
  """
  config = supervised.base(
    variant, variants, kind="classify", task=task, task_options=dict(options)
  )
  config.update(num_updates=4000, updates_per_chunk=100, batch_size=64)
  config.update(chunks_per_evaluation=5, budget=50_000)
  config.network = {"stack": {"num_layers": 2, "norm": "layer"}}
  config.network.pooling = "mean"
  config.optimizer = supervised.adamw(3e-3, 0.05, warmup_steps=100)
  config.arms = blocks.arms(*mixers.names())
  return config


def tiny(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Shrinks a comparison to seconds: it learns nothing."""
  return supervised.tiny(config, "gru", "lstm", budget=None)
