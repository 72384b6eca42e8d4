"""Qwen3-Next: `Qwen3NextForCausalLM`, and Qwen3.5's text models.

Three layers of Gated DeltaNet (arXiv:2412.06464), then one of gated attention
with partly rotated heads; a mixture of experts in every layer. Norms multiply
by 1 + w, except the one after the delta rule. One tensor contains queries,
keys, values and gates, key head by key head.

`Qwen3_5ForCausalLM` has no experts, and separate tensors for the joined
queries, keys and values, for gates, rates and decays.
`Qwen3_5ForConditionalGeneration` contains it next to the image and video
encoder, which is left out.
"""

import dataclasses
import re

import numpy as np

from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _delta_layers

# Defaults of Qwen3.5 that differ from Qwen3-Next's.
_DEFAULTS = {
  "hidden_size": 4096,
  "intermediate_size": 12288,
  "num_key_value_heads": 4,
}
_DELTA = _decoder.tensors(
  {"W_o": "out_proj"},
  {"A_log": "A_log", "dt_bias": "dt_bias", "norm_scale": "norm.weight"},
  "conv1d",
)
_PROJECTIONS = _decoder.tensors(
  {
    "W_qkv": "in_proj_qkv",
    "W_g": "in_proj_z",
    "W_b": "in_proj_b",
    "W_a": "in_proj_a",
  }
)


def _options(entries, epsilon):
  if entries.contents.get("head_dim") is None:
    entries = entries.replaced(head_dim=256)
  attends = _decoder.attends(
    entries,
    16,
    2,
    rotary=0.25,
    bias="attention_bias",
    qk_norm="head",
    eps=epsilon,
    gate="sigmoid",
  )
  return {
    "mixer": "gated_deltanet",
    "mixer_options": {
      **_delta_layers.options(entries, 32, 16, 128),
      "eps": epsilon,
    },
    **_decoder.swiglu(entries, 5632),
    "layers": tuple(
      attends if kind == "attention" else {}
      for kind in _delta_layers.kinds(entries)
    ),
  }


def _next_options(entries, epsilon):
  options = _options(entries, epsilon)
  mixed = _mixed(entries)
  experts = _experts(entries) if mixed else {}
  options["layers"] = tuple(
    layer | (experts if i in mixed else {})
    for i, layer in enumerate(options["layers"])
  )
  return options


def _experts(entries):
  """Returns the options of the layers with a mixture of experts."""
  return {
    "feedforward": "experts",
    "feedforward_width": entries.count("moe_intermediate_size", 512),
    "feedforward_options": {
      "experts": entries.count("num_experts", 512),
      "active": entries.count("num_experts_per_tok", 10),
      "score": "softmax",
      "renormalize": entries.flag("norm_topk_prob", True),
      "shared_width": entries.count("shared_expert_intermediate_size", 512),
      "shared_gate": True,
    },
  }


def _mixed(entries):
  """Returns the numbers of the layers with a mixture of experts."""
  step = entries.get("decoder_sparse_step", int, 1)
  if step < 1:
    raise entries.error("decoder_sparse_step", step, "at least 1")
  dense = entries.contents.get("mlp_only_layers") or []
  if not isinstance(dense, list):
    raise entries.error("mlp_only_layers", dense, "a list of numbers of layers")
  if entries.get("num_experts", int, 512) == 0:
    return []
  return [
    i for i in range(entries.layers) if (i + 1) % step == 0 and i not in dense
  ]


def _layer(layer):
  paths = layer.norms(
    "input_layernorm", "post_attention_layernorm", _placement.centered
  )
  if layer.config.mixer == "attention":
    paths |= _gated_attention(layer)
  else:
    paths |= layer.module("linear_attn", _DELTA)
    paths |= layer.module("linear_attn", _PROJECTIONS)
  if layer.config.routing is None:
    return paths | layer.dense("mlp")
  gate = layer.named("mlp.shared_expert_gate.weight")
  return {
    **paths,
    **layer.experts("mlp"),
    **layer.dense("mlp.shared_expert", ours="feedforward/shared"),
    "feedforward/shared_gate/kernel": _placement.linear(gate),
  }


def _next_layer(layer):
  paths = _layer(layer)
  if layer.config.mixer != "attention":
    paths |= _packed(layer.mixer, layer.named("linear_attn"))
  return paths


def _gated_attention(layer):
  """Returns the places of attention; heads have a query, then a gate."""
  paths = layer.attention()
  width = layer.mixer.head_width
  size = 2 * layer.mixer.heads * width
  index = np.arange(size).reshape(-1, 2, width).swapaxes(0, 1)
  for bias in ("", "_bias"):
    joint = paths[f"mixer/W_q{bias}"]
    for name, rows in zip("qg", index, strict=True):
      place = _placement.rows(joint, rows.ravel(), size)
      paths[f"mixer/W_{name}{bias}"] = place
  for name in "qk":
    norm = layer.named(f"self_attn.{name}_norm.weight")
    paths[f"mixer/{name}_norm"] = _placement.centered(norm)
  return paths


def _packed(config, theirs):
  """Returns the places of the delta rule's projections, grouped by key head."""
  paths = {}
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
      paths[f"mixer/W_{name}"] = _placement.rows(
        _placement.linear(f"{theirs}.{tensor}.weight"),
        np.concatenate(index),
        size,
      )
  return paths


def _with_defaults(entries):
  """Returns the entries with the defaults of Qwen3.5."""
  return entries.with_defaults(**_DEFAULTS)


def _text(entries):
  """Returns the entries of the text model in a model that reads images."""
  tie = entries.contents.get("tie_word_embeddings")
  entries = entries.opened("text_config")
  if tie is not None:
    entries = entries.replaced(tie_word_embeddings=tie)
  entries.check(WITH_IMAGES.EMBEDDING, WITH_IMAGES.LAYERS)
  return _with_defaults(entries)


NEXT = _decoder.Decoder(
  _next_options,
  _next_layer,
  # Layers that predict further tokens.
  IGNORED=re.compile(r"mtp\..*"),
  norm_place=_placement.centered,
  width=2048,
)
TEXT = dataclasses.replace(
  NEXT, options=_options, layer=_layer, prepare=_with_defaults
)
WITH_IMAGES = dataclasses.replace(
  TEXT,
  EMBEDDING="model.language_model.embed_tokens.weight",
  LAYERS="model.language_model.layers",
  IGNORED=re.compile(r"(model\.visual|mtp)\..*"),
  norm="model.language_model.norm.weight",
  prepare=_text,
)
