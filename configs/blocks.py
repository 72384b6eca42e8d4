"""Stacks of layers: the block of each mixer's paper, and a hybrid."""

# Where it differs from the default of `nn.StackConfig`, a gated GELU. The
# block of Mamba has a gate of its own.
_TRANSFORMER = {"activation": "none", "feedforward": "swiglu"}
_BLOCKS = {
  "aaren": _TRANSFORMER,
  "attention": _TRANSFORMER,
  "lightnet": _TRANSFORMER,
  "linear_attention": _TRANSFORMER,
  "mamba": {"activation": "none"},
  "mamba2": {"activation": "none"},
}


def arms(*names: str) -> dict[str, dict]:
  """Returns one arm for each mixer, in the block of its paper."""
  return {
    name: {"network": {"stack": {"mixer": name, **_BLOCKS.get(name, {})}}}
    for name in names
  }


def hybrid(d_model: int, window: int) -> dict[str, object]:
  """Returns S5 and attention in turn, with feed-forward halves, in bfloat16."""
  return {
    "mixer": "s5",
    "mixer_options": {"ssm_size": d_model, "blocks": 1},
    "hybrid": {"attention": {"heads": 4, "window": window}},
    "d_model": d_model,
    "num_layers": 2,
    "norm": "rms",
    "feedforward": "swiglu",
    "dtype": "bfloat16",
    "remat": True,
  }
