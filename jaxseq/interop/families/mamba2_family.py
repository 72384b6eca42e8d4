"""Mamba-2: `Mamba2ForCausalLM` (arXiv:2405.21060)."""

import math
from typing import Any

from jaxseq import _validate
from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _tensors
from jaxseq.interop.families import _mamba_layers

EMBEDDING = _mamba_layers.EMBEDDING
LAYERS = _mamba_layers.LAYERS
OLD_NAMES = _mamba_layers.OLD_NAMES

_OPTIONS = _mamba_layers.OPTIONS | {
  "d_state": ("state_size", int, 128),
  "headdim": ("head_dim", int, _entries.MISSING),
  "ngroups": ("n_groups", int, 8),
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  options = _mamba_layers.read_options(entries, _OPTIONS)
  heads, d_model = entries.size("num_heads"), entries.size("hidden_size")
  if heads * options["headdim"] != options["expand"] * d_model:
    raise ValueError(
      f"{entries.where}: num_heads * head_dim: got {heads} * "
      f"{options['headdim']} and {options['expand']} * {d_model}, expected "
      "expand * hidden_size."
    )
  options["dt_limit"] = entries.bounds("time_step_limit")
  options["norm_eps"] = entries.epsilon("layer_norm_epsilon", 1e-5)
  options["norm_groups"] = options["ngroups"]
  return _mamba_layers.make_network(entries, "mamba2", options, tie=False)


def to_json(config: nn.NetworkConfig, vocab_size: int) -> dict[str, Any]:
  """Undoes `from_json`."""
  entries = _mamba_layers.to_json(config, vocab_size, _OPTIONS)
  stack = config.stack
  (mixer,) = stack.mixers
  entries["architectures"] = ["Mamba2ForCausalLM"]
  entries["head_dim"] = mixer.head_width
  entries["num_heads"] = mixer.heads
  if mixer.dt_limit != (0.0, math.inf):
    entries["time_step_limit"] = list(mixer.dt_limit)
  if mixer.norm_eps != stack.norm_epsilon:
    raise ValueError(
      f"the mixer's norm_eps: got {mixer.norm_eps} and {stack.norm_epsilon}, "
      "expected the network's norm_epsilon to be saved in this format."
    )
  if mixer.norm_groups != mixer.ngroups:
    raise ValueError(
      f"the mixer's norm_groups: got {mixer.norm_groups} and {mixer.ngroups}, "
      "expected its ngroups to be saved in this format."
    )
  for name, value, expected in (
    ("norm", mixer.norm, "after_gate"),
    ("channels", mixer.d_inner, mixer.expand * stack.d_model),
    ("out_bias", mixer.biases_out, mixer.bias),
  ):
    if value != expected:
      raise _validate.error(
        f"the mixer's {name}", value, f"{expected!r} to be saved in this format"
      )
  return entries


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  return _mamba_layers.places(config, _mamba_layers.MAMBA2)
