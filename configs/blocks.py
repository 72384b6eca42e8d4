"""Stacks of layers: the block of each mixer's paper, and a hybrid."""

from jaxseq import mixers


def arms(*names: str) -> dict[str, dict]:
  """Returns one arm for each mixer, in the block that it declares."""
  return {
    name: {"network": {"stack": {"mixer": name, **mixers.traits(name).block}}}
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
