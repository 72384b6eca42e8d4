"""Mamba: `MambaForCausalLM` (arXiv:2312.00752)."""

from collections.abc import Mapping
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
  "d_state": ("state_size", int, 16),
  "dt_init": ("time_step_init_scheme", str, "random"),
  "dt_scale": ("time_step_scale", float, 1.0),
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  return make_network(entries, {})


def make_network(
  entries: _entries.Entries, norm: Mapping[str, Any]
) -> tuple[nn.NetworkConfig, int]:
  """Network of `from_json`, with options of the mixer's norm."""
  options = _mamba_layers.read_options(entries, _OPTIONS)
  if entries.contents.get("time_step_rank", "auto") != "auto":
    options["dt_rank"] = entries.size("time_step_rank")
  return _mamba_layers.make_network(
    entries, "mamba", {**options, **norm}, tie=True
  )


def to_json(config: nn.NetworkConfig, vocab_size: int) -> dict[str, Any]:
  """Undoes `from_json`."""
  return describe(config, vocab_size, "none")


def describe(
  config: nn.NetworkConfig, vocab_size: int, norm: str
) -> dict[str, Any]:
  """Entries of `to_json`, of mixers that have this norm."""
  entries = _mamba_layers.to_json(config, vocab_size, _OPTIONS)
  (mixer,) = config.stack.mixers
  if mixer.norm != norm:
    expected = f"{norm!r} to be saved in this format"
    raise _validate.error("the mixer's norm", mixer.norm, expected)
  entries["architectures"] = ["MambaForCausalLM"]
  entries["time_step_rank"] = mixer.rank
  entries["intermediate_size"] = mixer.d_inner
  return entries


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  return _mamba_layers.places(config, _mamba_layers.MAMBA)
