"""The config of toy_run.py."""

import ml_collections


def get_config(variant="plain"):
  if variant not in ("plain", "long"):
    raise ValueError(f"variant must be 'plain' or 'long', got {variant!r}")
  config = ml_collections.ConfigDict()
  config.num_updates = 24 if variant == "plain" else 240
  config.seconds_per_chunk = 0.0
  config.optimizer = ml_collections.ConfigDict()
  config.optimizer.learning_rate = 0.05
  config.untyped = None
  return config
