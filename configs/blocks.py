"""Stacks of layers: the block of each mixer's paper, a hybrid, and GTrXL."""

from jaxseq import mixers
from jaxseq.nn import stack

# The feed-forward half of a Transformer, around another mixer.
TRANSFORMER = {"activation": "none", "feedforward": "gelu"}


def arm(mixer: str, **options: object) -> dict[str, dict]:
  """Returns an arm of a mixer, in the block that it declares.

  Args:
    mixer: name of the mixer.
    **options: stack options, which override those of the block.
  """
  return bare(mixer, **{**mixers.traits(mixer).block, **options})[mixer]


def arms(*names: str) -> dict[str, dict]:
  """Returns one arm for each mixer, in the block that it declares."""
  return {name: arm(name) for name in names}


def bare(*names: str, **options: object) -> dict[str, dict]:
  """Returns one arm for each mixer, with stack options."""
  return {
    name: {"network": {"stack": {"mixer": name, **options}}} for name in names
  }


def hybrid(d_model: int, window: int) -> dict[str, object]:
  """Returns alternating S5 and attention, with feed-forwards, in bfloat16."""
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


def gtrxl(d_model: int, window: int, **fields: object) -> dict[str, object]:
  """Returns the layers of `nn.StackConfig.gtrxl`, two by default."""
  options = {"heads": 4, "window": window, "positions": "relative"}
  sizes = {"d_model": d_model, "num_layers": 2}
  return {**stack.GTRXL, "mixer_options": options, **sizes, **fields}
