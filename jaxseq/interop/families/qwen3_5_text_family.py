"""Qwen3.5's model of text: `Qwen3_5ForCausalLM`.

Qwen3-Next without experts, whose layers of Gated DeltaNet have a tensor for
each of queries, keys and values together, gates, rates and decays.
"""

import re

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import qwen3_next_family

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"
# Layers that predict further tokens.
IGNORED = re.compile(r"mtp\..*")

# Where the file does not say and Qwen3-Next has another number.
_DEFAULTS = {
  "hidden_size": 4096,
  "intermediate_size": 12288,
  "num_key_value_heads": 4,
}
_DELTA = {
  "W_qkv": ("in_proj_qkv.weight", _placement.linear),
  "W_g": ("in_proj_z.weight", _placement.linear),
  "W_b": ("in_proj_b.weight", _placement.linear),
  "W_a": ("in_proj_a.weight", _placement.linear),
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  entries = entries.replaced(**_DEFAULTS | dict(entries.contents))
  return qwen3_next_family.network(entries, {})


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  return below(config, "model")


def below(config: nn.NetworkConfig, root: str) -> _tensors.Places:
  """Returns the places of the parameters, by the name of the model itself."""
  norm = f"{root}.norm.weight"
  paths = _decoder.frame(f"{root}.embed_tokens.weight", norm)
  paths["stack/final_norm/scale"] = _placement.centered(norm)
  for i in range(config.stack.num_layers):
    layer = config.stack.every_layer[i]
    ours, theirs = f"stack/layers_{i}", f"{root}.layers.{i}"
    paths |= qwen3_next_family.around(ours, theirs)
    if layer.mixer == "attention":
      mixer = layer.mixer_config
      paths |= qwen3_next_family.gated_attention(
        mixer, f"{ours}/mixer", f"{theirs}.self_attn"
      )
    else:
      module = f"{ours}/mixer", f"{theirs}.linear_attn"
      paths |= qwen3_next_family.delta_scalars(*module)
      paths |= _decoder.renamed(*module, _DELTA)
    paths |= _decoder.gated(f"{ours}/feedforward", f"{theirs}.mlp")
  return paths
