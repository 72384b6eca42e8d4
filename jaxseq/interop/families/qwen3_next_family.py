"""Qwen3-Next: `Qwen3NextForCausalLM`.

Three layers of Gated DeltaNet (arXiv:2412.06464), then one of attention with a
gate and positions on a part of each head; a mixture of experts in every layer.
Norms multiply by 1 + w, but for the one behind the delta rule. A tensor holds
queries, keys, values and gates of one head of keys after the other.
"""

import re
from typing import Any

import numpy as np

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _delta_layers
from jaxseq.mixers import attention
from jaxseq.mixers import gated_deltanet

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"
# Layers that predict further tokens.
IGNORED = re.compile(r"mtp\..*")


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  mixed = _mixed(entries)
  experts = _experts(entries) if mixed else {}
  return network(entries, dict.fromkeys(mixed, experts))


def _experts(entries):
  """Options of the layers with a mixture of experts."""
  return {
    "feedforward": "experts",
    "feedforward_width": entries.count("moe_intermediate_size", 512),
    "feedforward_options": {
      "experts": entries.count("num_experts", 512),
      "active": entries.count("num_experts_per_tok", 10),
      "score": "softmax",
      "renormalize": entries.get("norm_topk_prob", bool, True),
      "shared_width": entries.count("shared_expert_intermediate_size", 512),
      "shared_gate": True,
    },
  }


def network(
  entries: _entries.Entries, experts: dict[int, dict[str, Any]]
) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens.

  Args:
    entries: of config.json.
    experts: options of the layers with a mixture of experts.
  """
  _decoder.check_silu(entries)
  epsilon = entries.epsilon("rms_norm_eps", 1e-6)
  bias = entries.get("attention_bias", bool, False)
  if entries.contents.get("head_dim") is None:
    entries = entries.replaced(head_dim=256)
  attends = {
    "mixer": "attention",
    "mixer_options": {
      **_decoder.attention_options(entries, 16, 2),
      **_decoder.rotary_options(entries, 0.25),
      "qkv_bias": bias,
      "output_bias": bias,
      "qk_norm": "head",
      "eps": epsilon,
      "gate": "sigmoid",
    },
  }
  kinds = _delta_layers.kinds(entries)
  stack = {
    "mixer": "gated_deltanet",
    "mixer_options": {
      **_delta_layers.options(entries, 32, 16, 128),
      "eps": epsilon,
    },
    "d_model": entries.count("hidden_size", 2048),
    "num_layers": len(kinds),
    "norm_epsilon": epsilon,
    "feedforward": "swiglu",
    "feedforward_width": entries.count("intermediate_size", 5632),
    "layers": tuple(
      (attends if kind == "attention" else {}) | experts.get(i, {})
      for i, kind in enumerate(kinds)
    ),
  }
  tie = entries.get("tie_word_embeddings", bool, False)
  config = _decoder.network(entries, stack, tie=tie)
  return config, entries.get("vocab_size", int)


def _mixed(entries):
  """Numbers of the layers with a mixture of experts."""
  step = entries.get("decoder_sparse_step", int, 1)
  if step < 1:
    raise entries.error("decoder_sparse_step", step, "at least 1")
  dense = entries.contents.get("mlp_only_layers") or []
  if not isinstance(dense, list):
    raise entries.error("mlp_only_layers", dense, "a list of numbers of layers")
  if entries.get("num_experts", int, 512) == 0:
    return []
  count = entries.get("num_hidden_layers", int)
  return [i for i in range(count) if (i + 1) % step == 0 and i not in dense]


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  paths = _decoder.frame(EMBEDDING, "model.norm.weight")
  paths["stack/final_norm/scale"] = _placement.centered("model.norm.weight")
  for i in range(config.stack.num_layers):
    layer = config.stack.every_layer[i]
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    paths |= around(ours, theirs)
    mixer = layer.mixer_config
    if layer.mixer == "attention":
      paths |= gated_attention(mixer, f"{ours}/mixer", f"{theirs}.self_attn")
    else:
      paths |= _delta(mixer, f"{ours}/mixer", f"{theirs}.linear_attn")
    if layer.routing is None:
      paths |= _decoder.gated(f"{ours}/feedforward", f"{theirs}.mlp")
    else:
      paths |= _delta_layers.routed(
        f"{ours}/feedforward",
        f"{theirs}.mlp",
        layer.routing.experts,
        _decoder.GATED,
        "shared_expert",
      )
      paths[f"{ours}/feedforward/shared_gate/kernel"] = _placement.linear(
        f"{theirs}.mlp.shared_expert_gate.weight"
      )
  return paths


def around(ours: str, theirs: str) -> dict[str, _placement.Place]:
  """Returns the places of the norms of a layer."""
  return {
    f"{ours}/{name}/scale": _placement.centered(f"{theirs}.{tensor}.weight")
    for name, tensor in (
      ("norm", "input_layernorm"),
      ("feedforward_norm", "post_attention_layernorm"),
    )
  }


def gated_attention(
  config: attention.Config, ours: str, theirs: str
) -> dict[str, _placement.Place]:
  """Returns the places of attention; heads have a query, then a gate.

  Args:
    config: of the mixer.
    ours: path of the mixer here.
    theirs: name of the module there.
  """
  paths = _decoder.attention(ours, theirs)
  width = config.head_width
  size = 2 * config.heads * width
  query, gate = np.arange(size).reshape(-1, 2, width).swapaxes(0, 1)
  for name, index in (("q", query), ("g", gate)):
    for suffix, tensor, layout in (
      ("", "weight", _placement.linear),
      ("_bias", "bias", _placement.same),
    ):
      paths[f"{ours}/W_{name}{suffix}"] = _placement.rows(
        layout(f"{theirs}.q_proj.{tensor}"), index.ravel(), size
      )
  for name in "qk":
    paths[f"{ours}/{name}_norm"] = _placement.centered(
      f"{theirs}.{name}_norm.weight"
    )
  return paths


def delta_scalars(ours: str, theirs: str) -> dict[str, _placement.Place]:
  """Returns the places of what is around the delta rule's projections."""
  return _decoder.renamed(
    ours,
    theirs,
    {
      "conv_weight": ("conv1d.weight", _placement.conv),
      "A_log": ("A_log", _placement.same),
      "dt_bias": ("dt_bias", _placement.same),
      "norm_scale": ("norm.weight", _placement.same),
      "W_o": ("out_proj.weight", _placement.linear),
    },
  )


def _delta(config: gated_deltanet.Config, ours, theirs):
  """Places of Gated DeltaNet, whose tensors go by heads of keys."""
  paths = delta_scalars(ours, theirs)
  shared = config.heads // config.groups
  values = shared * config.value_width
  for tensor, names, widths in (
    (
      "in_proj_qkvz",
      ("qkv", "qkv", "qkv", "g"),
      (config.key_width, config.key_width, values, values),
    ),
    ("in_proj_ba", ("b", "a"), (shared, shared)),
  ):
    size = config.groups * sum(widths)
    rows = np.arange(size).reshape(config.groups, -1)
    parts = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    for name in dict.fromkeys(names):
      index = [part.ravel() for each, part in zip(names, parts) if each == name]
      paths[f"{ours}/W_{name}"] = _placement.rows(
        _placement.linear(f"{theirs}.{tensor}.weight"),
        np.concatenate(index),
        size,
      )
  return paths
