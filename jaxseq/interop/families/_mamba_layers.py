"""Mamba and Mamba-2 layers: their tensors, and models of nothing else.

Names and defaults are those of `MambaConfig` and `Mamba2Config`.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder

EMBEDDING = "backbone.embeddings.weight"
LAYERS = "backbone.layers"
# The name in files of the first releases.
OLD_NAMES = {"backbone.embedding.weight": EMBEDDING}

# Options of both mixers: name in the file, type, default.
OPTIONS = {
  "expand": ("expand", int, 2),
  "d_conv": ("conv_kernel", int, 4),
  "dt_min": ("time_step_min", float, 0.001),
  "dt_max": ("time_step_max", float, 0.1),
  "dt_init_floor": ("time_step_floor", float, 1e-4),
  "conv_bias": ("use_conv_bias", bool, True),
  "bias": ("use_bias", bool, False),
}
_TENSORS = {
  "in_proj": ("in_proj.weight", _placement.linear),
  "in_proj_bias": ("in_proj.bias", _placement.same),
  "conv_weight": ("conv1d.weight", _placement.conv),
  "conv_bias": ("conv1d.bias", _placement.same),
  "A_log": ("A_log", _placement.same),
  "D": ("D", _placement.same),
  "out_proj": ("out_proj.weight", _placement.linear),
  "out_proj_bias": ("out_proj.bias", _placement.same),
}
# Tensors of either mixer.
MAMBA = _TENSORS | {
  "x_proj": ("x_proj.weight", _placement.linear),
  "dt_proj": ("dt_proj.weight", _placement.linear),
  "dt_bias": ("dt_proj.bias", _placement.same),
}
MAMBA2 = _TENSORS | {
  "dt_bias": ("dt_bias", _placement.same),
  "norm_scale": ("norm.weight", _placement.same),
}

# Options of Mamba-2 in models with other layers, too.
_HYBRID = {
  "expand": ("mamba_expand", int, 2),
  "d_conv": ("mamba_d_conv", int, 4),
  "d_state": ("mamba_d_state", int, 256),
  "ngroups": ("mamba_n_groups", int, 1),
  "conv_bias": ("mamba_conv_bias", bool, True),
  "bias": ("mamba_proj_bias", bool, False),
}


def mamba2_options(
  entries: _entries.Entries, epsilon: float, channels: int | None = None
) -> dict[str, Any]:
  """Returns the options of Mamba-2 in models with other layers, too."""
  options = read_options(entries, _HYBRID)
  inner = channels or options["expand"] * entries.size("hidden_size")
  heads = entries.count("mamba_n_heads", 128)
  width = entries.contents.get("mamba_d_head", "auto")
  if width == "auto":
    width = max(inner // heads, 1)
  else:
    width = entries.count("mamba_d_head")
  if heads * width != inner:
    raise ValueError(
      f"{entries.where}: mamba_n_heads * mamba_d_head: got {heads} * {width}, "
      f"expected {inner}, the channels of Mamba-2."
    )
  return options | {
    "channels": channels,
    "headdim": width,
    "dt_limit": entries.bounds("time_step_limit"),
    "norm_eps": epsilon,
    "norm_groups": options["ngroups"],
  }


def read_options(
  entries: _entries.Entries, table: Mapping[str, tuple[str, type, Any]]
) -> dict[str, Any]:
  """Returns the options of a mixer that a table has the names of."""
  options = {}
  for option, (name, kind, default) in table.items():
    if option == "d_conv":
      options[option] = entries.taps(name, default)
    elif kind is int:
      options[option] = entries.size(name, default)
    else:
      options[option] = entries.get(name, kind, default)
  return options


def make_network(
  entries: _entries.Entries, mixer: str, options: Mapping[str, Any], tie: bool
) -> tuple[nn.NetworkConfig, int]:
  """Makes the network; `tie` is whether the embedding is tied by default."""
  _decoder.check_silu(entries)
  stack = {
    "mixer": mixer,
    "mixer_options": options,
    "d_model": entries.size("hidden_size"),
    "num_layers": entries.get("num_hidden_layers", int),
    "norm_epsilon": entries.epsilon("layer_norm_epsilon", 1e-5),
    "residual_float32": entries.get("residual_in_fp32", bool, True),
  }
  config = _decoder.network(
    entries, stack, tie=entries.get("tie_word_embeddings", bool, tie)
  )
  return config, entries.get("vocab_size", int)


def to_json(
  config: nn.NetworkConfig,
  vocab_size: int,
  table: Mapping[str, tuple[str, type, Any]],
) -> dict[str, Any]:
  """Returns the entries that both have, and those of a table of options."""
  _decoder.check_saved(config)
  stack = config.stack
  (mixer,) = stack.mixers
  entries = {
    "model_type": stack.mixer,
    "vocab_size": vocab_size,
    "hidden_size": stack.d_model,
    "num_hidden_layers": stack.num_layers,
    "layer_norm_epsilon": stack.norm_epsilon,
    "hidden_act": "silu",
    "residual_in_fp32": stack.residual_float32,
    "tie_word_embeddings": config.tie,
    # The defaults may lie outside of a small vocabulary.
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
  }
  for option, (name, _, _) in table.items():
    entries[name] = getattr(mixer, option)
  return entries


def places(
  config: nn.NetworkConfig,
  table: Mapping[str, tuple[str, Callable[[str], _placement.Place]]],
) -> dict[str, _placement.Place]:
  """Returns the places of all parameters, those of the mixers by a table."""
  paths = _decoder.frame(EMBEDDING, "backbone.norm_f.weight")
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    paths[f"{ours}/norm/scale"] = _placement.same(f"{theirs}.norm.weight")
    paths |= _decoder.renamed(f"{ours}/mixer", f"{theirs}.mixer", table)
  return paths


def mixer_places(
  config: nn.NetworkConfig, index: int, theirs: str
) -> dict[str, _placement.Place]:
  """Returns the places of a layer's mixer, Mamba-2 or attention."""
  ours = f"stack/layers_{index}/mixer"
  if config.stack.every_layer[index].mixer == "mamba2":
    return _decoder.renamed(ours, f"{theirs}.mamba", MAMBA2)
  return _decoder.attention(ours, f"{theirs}.self_attn")
