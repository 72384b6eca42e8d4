"""What the comparisons of all mixers share."""

import ml_collections

# Options in which a mixer's network differs from the others: what its paper
# puts around it. The block of Mamba has a gate of its own.
_TRANSFORMER = {"activation": "none", "feedforward": "swiglu"}
_NETWORKS = {
  "aaren": _TRANSFORMER,
  "attention": _TRANSFORMER,
  "lightnet": _TRANSFORMER,
  "linear_attention": _TRANSFORMER,
  "mamba": {"activation": "none"},
  "mamba2": {"activation": "none"},
}


def arms(names: tuple[str, ...]) -> dict[str, dict]:
  """Returns the arms for mixers by name, each in the block of its paper."""
  return {
    name: {"network": {"mixer": name, **_NETWORKS.get(name, {})}}
    for name in names
  }


def tiny(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Shrinks a comparison to seconds: it learns nothing."""
  config.num_updates = 4
  config.updates_per_chunk = 2
  config.budget = None
  config.network.update(d_model=8, num_layers=1)
  config.optimizer.update(warmup_steps=0)
  config.batch_size = 4
  config.arms = arms(("gru", "lstm"))
  return config
