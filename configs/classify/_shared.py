"""What the configs of classification share."""

import ml_collections


def base() -> ml_collections.ConfigDict:
  """Returns a config without data, network and arms."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.num_updates = 4000
  config.updates_per_chunk = 100
  config.chunks_per_evaluation = 5
  config.batch_size = 64
  config.data_options = {}
  config.network = {
    "stack": {"d_model": 64, "num_layers": 2},
    "pooling": "mean",
  }
  config.optimizer = {
    "learning_rate": 3e-3,
    "weight_decay": 0.01,
    "warmup_steps": 100,
  }
  config.arms = {
    "s5": {
      "network": {"stack": {"mixer": "s5", "mixer_options": {"ssm_size": 64}}}
    },
    "gru": {"network": {"stack": {"mixer": "gru"}}},
    "mamba": {"network": {"stack": {"mixer": "mamba", "activation": "none"}}},
  }
  return config


def s5_paper(
  ssm_size: int, blocks: int, **options: object
) -> dict[str, object]:
  """Returns the mixer of an S5 arm with the paper's common options."""
  return {
    "mixer": "s5",
    "mixer_options": {
      "ssm_size": ssm_size,
      "blocks": blocks,
      "bidirectional": True,
      **options,
    },
  }


def tiny(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Shrinks all but the data to seconds: it learns nothing."""
  config.num_updates = 4
  config.updates_per_chunk = 2
  config.chunks_per_evaluation = 1
  config.batch_size = 4
  config.optimizer.update(warmup_steps=0)
  config.network.pooling = "mean"
  config.network.stack.update(d_model=8, num_layers=1)
  config.arms = {"gru": {"network": {"stack": {"mixer": "gru"}}}}
  return config
