"""The config of toy_run.py."""


def get_config(variant="plain"):
  if variant not in ("plain", "long"):
    raise ValueError(f"variant must be 'plain' or 'long', got {variant!r}")
  return {
    "num_updates": 24 if variant == "plain" else 240,
    "seconds_per_chunk": 0.0,
    "optimizer": {"learning_rate": 0.05},
    "untyped": None,
  }
