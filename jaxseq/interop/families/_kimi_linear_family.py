"""Kimi Linear: `KimiLinearForCausalLM` (arXiv:2510.26692).

Layers of Kimi Delta Attention, with low-rank decay and gate, and of latent
attention without positions; a mixture of experts with sigmoid scores in all but
the first layers.
"""

import numpy as np

from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _delta_layers

# Names of entries that differ from the library's own files.
_NAMES = {
  "model_max_length": "max_position_embeddings",
  "moe_renormalize": "norm_topk_prob",
  "num_expert_group": "n_group",
  "num_local_experts": "num_experts",
  "num_experts_per_token": "num_experts_per_tok",
  "num_shared_experts": "n_shared_experts",
}
# The same for entries of the object of delta-rule options.
_DELTA_NAMES = {
  "head_dim": "linear_head_dim",
  "num_heads": "linear_num_heads",
  "short_conv_kernel_size": "linear_conv_kernel_dim",
  "full_attn_layers": "full_attn_layers",
  "kda_layers": "kda_layers",
}
_KINDS = {
  "linear_attention": "gated_deltanet",
  "full_attention": "latent_attention",
}
_FEEDFORWARDS = {"dense": "swiglu", "sparse": "experts"}
_EXPERT = {"in": "w1", "gate": "w3", "out": "w2"}


def _rates(name: str) -> _placement.Place:
  """One number per head, as a parameter (1, 1, heads, 1)."""
  return _placement.Place(
    (name,), lambda x: (x[None, None, :, None],), lambda x: np.reshape(x, -1)
  )


_DELTA = {
  **_decoder.tensors(
    {
      "W_b": "b_proj",
      "W_a": "f_a_proj",
      "W_a2": "f_b_proj",
      "W_g": "g_a_proj",
      "W_g2": "g_b_proj",
      "W_o": "o_proj",
    },
    {"dt_bias": "dt_bias", "norm_scale": "o_norm.weight"},
  ),
  "A_log": ("A_log", _rates),
}
_LATENT = _decoder.tensors(
  {"W_kv": "kv_a_proj_with_mqa", "W_kv2": "kv_b_proj", "W_o": "o_proj"},
  {"kv_norm": "kv_a_layernorm.weight"},
)
_QUERIES = _decoder.tensors({"W_q": "q_proj"})
_LOW_QUERIES = _decoder.tensors(
  {"W_q": "q_a_proj", "W_q2": "q_b_proj"}, {"q_norm": "q_a_layernorm.weight"}
)


def _options(entries, epsilon):
  entries.choice("moe_router_activation_func", ("sigmoid",), "sigmoid")
  entries.choice("mla_use_nope", (True,), True)
  options = entries.contents.get("linear_attn_config") or {}
  if not isinstance(options, dict):
    raise entries.error("linear_attn_config", options, "an object")
  delta = entries.replaced(
    **{
      name: options[old] for old, name in _DELTA_NAMES.items() if old in options
    }
  )
  width = delta.count("linear_head_dim", 128)
  kinds = _kinds(entries, delta)
  feedforwards = _feedforwards(entries, len(kinds))
  experts = _experts(entries) if "experts" in feedforwards else {}
  attends = {
    "mixer": "latent_attention",
    "mixer_options": _attention_options(entries),
  }
  return {
    "mixer": "gated_deltanet",
    "mixer_options": {
      "heads": delta.count("linear_num_heads", 32),
      "d_key": width,
      "d_value": width,
      "d_conv": delta.taps("linear_conv_kernel_dim", 4, 2),
      "decay": "channel",
      "decay_rank": width,
      "gate": "sigmoid",
      "gate_rank": width,
      "gate_bias": False,
      "eps": epsilon,
    },
    **_decoder.swiglu(entries, 9216),
    "layers": tuple(
      (attends if kind == "latent_attention" else {})
      | (experts if feedforward == "experts" else {})
      for kind, feedforward in zip(kinds, feedforwards)
    ),
  }


def _kinds(entries, delta):
  """Returns the mixers of the layers."""
  if entries.contents.get("layer_types") is not None:
    return entries.kinds("layer_types", _KINDS)
  count = entries.layers
  full = range(5, count + 1, 4)
  lists = "full_attn_layers", "kda_layers"
  if all(name in delta.contents for name in lists):
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
  """Returns the kinds of the layers' feed-forwards."""
  if entries.contents.get("mlp_layer_types") is not None:
    return entries.kinds("mlp_layer_types", _FEEDFORWARDS)
  first = entries.get("first_k_dense_replace", int, 1)
  return tuple("swiglu" if i < first else "experts" for i in range(count))


def _experts(entries):
  """Returns the options of layers with a mixture of experts."""
  width = entries.count("moe_intermediate_size", 1024)
  shared = entries.count("n_shared_experts", 1)
  options = {
    "experts": entries.count("num_experts", 256),
    "active": entries.count("num_experts_per_tok", 8),
    "score": "sigmoid",
    "renormalize": entries.flag("norm_topk_prob", True),
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
  """Returns the options of latent attention."""
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
    "bias": entries.flag("attention_bias", False),
    "window": entries.context,
    "positions": "none",
    # The epsilon of the latents' norms, whatever the other norms have.
    "eps": 1e-6,
  }


def _layer(layer):
  paths = layer.norms("input_layernorm", "post_attention_layernorm")
  if layer.config.mixer == "latent_attention":
    paths |= layer.module("self_attn", _LATENT)
    low = layer.mixer.query_rank is not None
    paths |= layer.module("self_attn", _LOW_QUERIES if low else _QUERIES)
  else:
    paths |= _delta_layers.separate(layer, "self_attn")
    paths |= layer.module("self_attn", _DELTA)
  mixture = "block_sparse_moe"
  if layer.config.routing is None:
    # The library itself writes dense layers under the mixtures' name.
    name = layer.named(f"{mixture}.gate_proj.weight")
    return paths | layer.dense(mixture if layer.entries.shape(name) else "mlp")
  bias = "gate.e_score_correction_bias"
  paths |= layer.experts(mixture, _EXPERT, bias=bias)
  return paths | layer.dense(
    f"{mixture}.shared_experts", ours="feedforward/shared"
  )


FAMILY = _decoder.Decoder(
  _options,
  _layer,
  MODULES=(
    (r"\.self_attn\.(f_[ab]_proj)$", r".self_attn.forget_gate.\1"),
    (r"\.block_sparse_moe\.", ".mlp."),
  ),
  epsilon=("rms_norm_eps", 1e-5),
  width=2304,
  # The library never ties the head, whatever `tie_word_embeddings` says.
  tie=None,
  prepare=lambda entries: entries.named(_NAMES),
)
