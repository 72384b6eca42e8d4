"""The block that each mixer's paper puts around it."""

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
