"""What the configs of the synthetic tasks share."""

import ml_collections

# The block of each mixer's paper, where it is not the usual one.
_BLOCKS = {
  "attention": {"activation": "none", "feedforward": "gelu"},
  "mamba": {"activation": "none"},
  "s4": {"activation": "half_glu2"},
  "s5": {"activation": "half_glu2"},
}


def arms(*names: str) -> dict[str, dict]:
  """Returns one arm for each mixer, in the block of its paper."""
  return {
    name: {"network": {"mixer": name, **_BLOCKS.get(name, {})}}
    for name in names
  }


def tiny(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Shrinks all but the task to seconds: it learns nothing."""
  config.num_updates = 4
  config.updates_per_chunk = 2
  config.batch_size = 4
  config.test_batches = 1
  config.further_batches = 1
  config.optimizer.update(warmup_steps=0)
  config.network.update(d_model=8, num_layers=1)
  config.arms = arms("gru")
  return config
