"""What the configs of the synthetic tasks share."""

import ml_collections

from configs import blocks


def tiny(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Shrinks all but the task to seconds: it learns nothing."""
  config.num_updates = 4
  config.updates_per_chunk = 2
  config.batch_size = 4
  config.test_batches = 1
  config.further_batches = 1
  config.optimizer.update(warmup_steps=0)
  config.network.stack.update(d_model=8, num_layers=1)
  config.arms = blocks.arms("gru")
  return config
