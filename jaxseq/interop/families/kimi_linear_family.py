"""Kimi Linear: `KimiLinearForCausalLM` (arXiv:2510.26692).

Layers of Kimi Delta Attention, whose decay and gate come by way of few
channels, and of latent attention without positions; a mixture of experts that
are scored by sigmoids in all but the first layers.
"""

import numpy as np

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _delta_layers

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"

# Names of entries that have another one in the library's own files.
_NAMES = {
  "model_max_length": "max_position_embeddings",
  "moe_renormalize": "norm_topk_prob",
  "num_expert_group": "n_group",
  "num_local_experts": "num_experts",
  "num_experts_per_token": "num_experts_per_tok",
  "num_shared_experts": "n_shared_experts",
}
_KINDS = {
  "linear_attention": "gated_deltanet",
  "full_attention": "latent_attention",
}
_FEEDFORWARDS = {"dense": "swiglu", "sparse": "experts"}
# What the latents' norms add, whatever the others do.
_LATENT_EPSILON = 1e-6
_EXPERT = {"in": "w1", "gate": "w3", "out": "w2"}


def _rates(name: str) -> _placement.Place:
  """One number for each head, (1, 1, heads, 1)."""
  return _placement.Place(
    (name,), lambda x: (x[None, None, :, None],), lambda x: np.reshape(x, -1)
  )


_DELTA = {
  "W_b": ("b_proj.weight", _placement.linear),
  "W_a": ("f_a_proj.weight", _placement.linear),
  "W_a2": ("f_b_proj.weight", _placement.linear),
  "A_log": ("A_log", _rates),
  "dt_bias": ("dt_bias", _placement.same),
  "W_g": ("g_a_proj.weight", _placement.linear),
  "W_g2": ("g_b_proj.weight", _placement.linear),
  "norm_scale": ("o_norm.weight", _placement.same),
  "W_o": ("o_proj.weight", _placement.linear),
}
_LATENT = {
  "W_kv": ("kv_a_proj_with_mqa.weight", _placement.linear),
  "W_kv_bias": ("kv_a_proj_with_mqa.bias", _placement.same),
  "kv_norm": ("kv_a_layernorm.weight", _placement.same),
  "W_kv2": ("kv_b_proj.weight", _placement.linear),
  "W_o": ("o_proj.weight", _placement.linear),
  "W_o_bias": ("o_proj.bias", _placement.same),
}
_QUERIES = {"W_q": ("q_proj.weight", _placement.linear)}
_LOW_QUERIES = {
  "W_q": ("q_a_proj.weight", _placement.linear),
  "W_q_bias": ("q_a_proj.bias", _placement.same),
  "q_norm": ("q_a_layernorm.weight", _placement.same),
  "W_q2": ("q_b_proj.weight", _placement.linear),
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  entries = entries.named(_NAMES)
  _decoder.check_silu(entries)
  entries.choice("moe_router_activation_func", ("sigmoid",), "sigmoid")
  entries.choice("mla_use_nope", (True,), True)
  epsilon = entries.epsilon("rms_norm_eps", 1e-5)
  delta = _delta_entries(entries)
  width = delta.count("linear_head_dim", 128)
  kinds = _kinds(entries, delta)
  feedforwards = _feedforwards(entries, len(kinds))
  experts = _experts(entries) if "experts" in feedforwards else {}
  attends = {
    "mixer": "latent_attention",
    "mixer_options": _attention_options(entries),
  }
  stack = {
    "mixer": "gated_deltanet",
    "mixer_options": {
      "heads": delta.count("linear_num_heads", 32),
      "d_key": width,
      "d_value": width,
      "d_conv": _delta_layers.taps(delta, "linear_conv_kernel_dim"),
      "decay": "channel",
      "decay_rank": width,
      "gate": "sigmoid",
      "gate_rank": width,
      "gate_bias": False,
      "eps": epsilon,
    },
    "d_model": entries.count("hidden_size", 2304),
    "num_layers": len(kinds),
    "norm_epsilon": epsilon,
    "feedforward": "swiglu",
    "feedforward_width": entries.count("intermediate_size", 9216),
    "layers": tuple(
      (attends if kind == "latent_attention" else {})
      | (experts if feedforward == "experts" else {})
      for kind, feedforward in zip(kinds, feedforwards)
    ),
  }
  # The library never ties the head, whatever `tie_word_embeddings` says.
  config = _decoder.network(entries, stack, tie=False)
  return config, entries.get("vocab_size", int)


def _delta_entries(entries):
  """The entries, with those of the delta rule out of their own object."""
  options = entries.contents.get("linear_attn_config") or {}
  if not isinstance(options, dict):
    raise entries.error("linear_attn_config", options, "an object")
  names = {
    "head_dim": "linear_head_dim",
    "num_heads": "linear_num_heads",
    "short_conv_kernel_size": "linear_conv_kernel_dim",
    "full_attn_layers": "full_attn_layers",
    "kda_layers": "kda_layers",
  }
  return entries.replaced(
    **{names[name]: options[name] for name in names if name in options}
  )


def _kinds(entries, delta):
  """Mixers of the layers."""
  if entries.contents.get("layer_types") is not None:
    return entries.kinds("layer_types", _KINDS)
  count = entries.get("num_hidden_layers", int)
  lists = "full_attn_layers", "kda_layers"
  if not all(name in delta.contents for name in lists):
    return tuple(
      "latent_attention" if i and i % 4 == 0 else "gated_deltanet"
      for i in range(count)
    )
  full, rest = (delta.get(name, list) for name in lists)
  numbers = [*full, *rest]
  if any(type(i) is not int for i in numbers) or (
    sorted(numbers) != list(range(1, count + 1))
  ):
    expected = f"each layer from 1 to {count} once"
    raise entries.error("linear_attn_config", numbers, expected)
  return tuple(
    "latent_attention" if i + 1 in full else "gated_deltanet"
    for i in range(count)
  )


def _feedforwards(entries, count):
  """Kinds of the layers' feed-forwards."""
  if entries.contents.get("mlp_layer_types") is not None:
    return entries.kinds("mlp_layer_types", _FEEDFORWARDS)
  first = entries.get("first_k_dense_replace", int, 1)
  return tuple("swiglu" if i < first else "experts" for i in range(count))


def _experts(entries):
  """Options of layers with a mixture of experts."""
  width = entries.count("moe_intermediate_size", 1024)
  shared = entries.count("n_shared_experts", 1)
  options = {
    "experts": entries.count("num_experts", 256),
    "active": entries.count("num_experts_per_tok", 8),
    "score": "sigmoid",
    "renormalize": entries.get("norm_topk_prob", bool, True),
    "scale": entries.get("routed_scaling_factor", float, 2.446),
    "selection_bias": True,
    "groups": entries.count("n_group", 1),
    "active_groups": entries.count("topk_group", 1),
    "shared_width": shared * width,
  }
  return {
    "feedforward": "experts",
    "feedforward_width": width,
    "feedforward_options": options,
  }


def _attention_options(entries):
  """Options of latent attention."""
  heads = entries.count("num_attention_heads", 32)
  shared = entries.contents.get("num_key_value_heads")
  if shared not in (None, heads):
    expected = f"{heads} = num_attention_heads"
    raise entries.error("num_key_value_heads", shared, expected)
  return {
    "heads": heads,
    "d_key": entries.count("qk_nope_head_dim", 128),
    "d_rotary": entries.size("qk_rope_head_dim", 64),
    "d_value": entries.count("v_head_dim", 128),
    "d_latent": entries.count("kv_lora_rank", 512),
    "query_rank": entries.count("q_lora_rank", None),
    "bias": entries.get("attention_bias", bool, False),
    "window": entries.context,
    "positions": "none",
    "eps": _LATENT_EPSILON,
  }


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  paths = _decoder.frame(EMBEDDING, "model.norm.weight")
  for i in range(config.stack.num_layers):
    layer = config.stack.every_layer[i]
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    paths |= _decoder.norms(
      ours, theirs, "input_layernorm", "post_attention_layernorm"
    )
    mixer = layer.mixer_config
    module = f"{ours}/mixer", f"{theirs}.self_attn"
    if layer.mixer == "latent_attention":
      paths |= _decoder.renamed(*module, _LATENT)
      queries = _QUERIES if mixer.query_rank is None else _LOW_QUERIES
      paths |= _decoder.renamed(*module, queries)
    else:
      paths |= _delta_layers.separate(mixer, entries, *module)
      paths |= _decoder.renamed(*module, _DELTA)
    half, mixture = f"{ours}/feedforward", f"{theirs}.block_sparse_moe"
    if layer.routing is None:
      # The library itself writes dense layers under the mixtures' name.
      named = entries.shape(f"{mixture}.gate_proj.weight")
      paths |= _decoder.gated(half, mixture if named else f"{theirs}.mlp")
      continue
    paths |= _delta_layers.routed(
      half, mixture, layer.routing.experts, _EXPERT, "shared_experts"
    )
    paths[f"{half}/selection_bias"] = _placement.same(
      f"{mixture}.gate.e_score_correction_bias"
    )
  return paths
