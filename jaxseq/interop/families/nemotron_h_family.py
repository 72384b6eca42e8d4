"""Nemotron-H: `NemotronHForCausalLM` (arXiv:2504.03624).

Each layer is Mamba-2, attention without positions, a feed-forward or a mixture
of experts alone.
"""

import copy
import math
import re

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_layers

EMBEDDING = "backbone.embeddings.weight"
LAYERS = "backbone.layers"
# Heads for more tokens at once, which plain generation does not have.
IGNORED = re.compile(r"mtp\..+")

_KINDS = {
  "linear_attention": "mamba2",
  "mamba": "mamba2",
  "full_attention": "attention",
  "attention": "attention",
  "mlp": "relu2",
  "moe": "experts",
}
# The same in one letter each, in the files of older releases.
_PATTERN = {"M": "mamba2", "*": "attention", "-": "relu2", "E": "experts"}
_OPTIONS = {
  "d_conv": ("conv_kernel", int, 4),
  "d_state": ("ssm_state_size", int, 128),
  "headdim": ("mamba_head_dim", int, 64),
  "ngroups": ("n_groups", int, 8),
  "conv_bias": ("use_conv_bias", bool, True),
  "bias": ("use_bias", bool, False),
}
_DENSE = {"in": "up_proj", "out": "down_proj"}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  kinds = _kinds(entries)
  epsilon = entries.epsilon("layer_norm_epsilon", 1e-5)
  layers = {
    kind: make(entries)
    for kind, make in (
      ("mamba2", lambda entries: _mamba(entries, epsilon)),
      ("attention", _attention),
      ("relu2", _dense),
      ("experts", _experts),
    )
    if kind in kinds
  }
  stack = {
    "mixer": "mamba2",
    "d_model": entries.size("hidden_size", 4096),
    "num_layers": len(kinds),
    "norm_epsilon": epsilon,
    "residual_float32": entries.get("residual_in_fp32", bool, False),
    "layers": tuple(layers[kind] for kind in kinds),
  }
  # The class never ties them, whatever `tie_word_embeddings` says.
  config = _decoder.network(entries, stack, tie=False)
  return config, entries.get("vocab_size", int)


def _kinds(entries):
  """Returns the kind of each layer."""
  name = "hybrid_override_pattern"
  if name in entries.contents and "layers_block_type" not in entries.contents:
    # Read as a list, a letter an item.
    letters = list(entries.get(name, str))
    entries = copy.copy(entries)
    entries.contents = {**entries.contents, name: letters}
    return entries.kinds(name, _PATTERN)
  return entries.kinds("layers_block_type", _KINDS)


def _mamba(entries, epsilon):
  _decoder.check_silu(entries, "mamba_hidden_act")
  options = _mamba_layers.read_options(entries, _OPTIONS)
  heads = entries.count("mamba_num_heads", 128)
  least = entries.get("time_step_min", float, 0.001)
  return {
    "mixer": "mamba2",
    "mixer_options": options
    | {
      "channels": heads * entries.count("mamba_head_dim", 64),
      # The class reads no other bound.
      "dt_limit": (least, math.inf),
      "norm_eps": epsilon,
      "norm_groups": options["ngroups"],
    },
  }


def _attention(entries):
  options = _decoder.attention_options(entries, 32, 8)
  if entries.contents.get("head_dim") is None:
    options["d_head"] = 128
  return {"mixer": "attention", "mixer_options": options}


def _dense(entries):
  return {
    "mixes": False,
    "feedforward": entries.choice("mlp_hidden_act", ("relu2",), "relu2"),
    "feedforward_width": entries.size("intermediate_size", 21504),
    "feedforward_options": {"bias": entries.get("mlp_bias", bool, False)},
  }


def _experts(entries):
  return {
    "mixes": False,
    "feedforward": "experts",
    "feedforward_width": entries.size("moe_intermediate_size", 7688),
    "feedforward_options": {
      "kind": entries.choice("mlp_hidden_act", ("relu2",), "relu2"),
      "experts": entries.count("n_routed_experts", 8),
      "active": entries.count("num_experts_per_tok", 2),
      "score": "sigmoid",
      "selection_bias": True,
      "groups": entries.count("n_group", 1),
      "active_groups": entries.count("topk_group", 1),
      "renormalize": entries.get("norm_topk_prob", bool, True),
      "scale": entries.get("routed_scaling_factor", float, 1.0),
      "shared_width": entries.size("moe_shared_expert_intermediate_size", 7688),
      "latent_width": entries.count("moe_latent_size", None),
      "bias": entries.get("mlp_bias", bool, False),
    },
  }


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  paths = _decoder.frame(EMBEDDING, "backbone.norm_f.weight")
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    layer, mixer = config.stack.every_layer[i], f"{theirs}.mixer"
    norm = "norm" if layer.mixes else "feedforward_norm"
    paths[f"{ours}/{norm}/scale"] = _placement.same(f"{theirs}.norm.weight")
    half = f"{ours}/feedforward"
    if layer.mixes and layer.mixer == "mamba2":
      table = _mamba_layers.MAMBA2
      paths |= _decoder.renamed(f"{ours}/mixer", mixer, table)
    elif layer.mixes:
      paths |= _decoder.attention(f"{ours}/mixer", mixer)
    elif layer.routing is None:
      paths |= _decoder.dense(half, mixer, _DENSE)
    else:
      paths |= _mixture(half, mixer, layer.routing.experts)
  return paths


def _mixture(ours, theirs, number):
  """Places of a mixture of experts."""
  bias = f"{theirs}.gate.e_score_correction_bias"
  latent = {"latent_in": "fc1_latent_proj", "latent_out": "fc2_latent_proj"}
  return {
    f"{ours}/router/kernel": _placement.linear(f"{theirs}.gate.weight"),
    f"{ours}/selection_bias": _placement.same(bias),
    **_decoder.experts(ours, f"{theirs}.experts", number, _DENSE),
    **_decoder.dense(f"{ours}/shared", f"{theirs}.shared_experts", _DENSE),
    **_decoder.dense(ours, theirs, latent),
  }
