"""Mamba: `MambaForCausalLM` (arXiv:2312.00752)."""

from typing import Any

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _mamba_layers

EMBEDDING = _mamba_layers.EMBEDDING
LAYERS = _mamba_layers.LAYERS
OLD_NAMES = _mamba_layers.OLD_NAMES

_OPTIONS = _mamba_layers.OPTIONS | {
  "d_state": ("state_size", int, 16),
  "dt_init": ("time_step_init_scheme", str, "random"),
  "dt_scale": ("time_step_scale", float, 1.0),
}
_TENSORS = _mamba_layers.TENSORS | {
  "x_proj": ("x_proj.weight", _placement.linear),
  "dt_proj": ("dt_proj.weight", _placement.linear),
  "dt_bias": ("dt_proj.bias", _placement.same),
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  options = _mamba_layers.read_options(entries, _OPTIONS)
  if entries.contents.get("time_step_rank", "auto") != "auto":
    options["dt_rank"] = entries.size("time_step_rank")
  return _mamba_layers.make_network(entries, "mamba", options, tie=True)


def to_json(config: nn.NetworkConfig, vocab_size: int) -> dict[str, Any]:
  """Undoes `from_json`."""
  entries = _mamba_layers.to_json(config, vocab_size, _OPTIONS)
  (mixer,) = config.stack.mixers
  entries["architectures"] = ["MambaForCausalLM"]
  entries["time_step_rank"] = mixer.rank
  entries["intermediate_size"] = mixer.d_inner
  return entries


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  return _mamba_layers.places(config, _TENSORS)
