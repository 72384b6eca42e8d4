"""Nemotron-H: `NemotronHForCausalLM` (arXiv:2504.03624).

Each layer is only Mamba-2, attention without positions, a feed-forward or a
mixture of experts.
"""

import math
import re

from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_family

_KINDS = {**_decoder.MAMBA_KINDS, "mlp": "relu2", "moe": "experts"}
# Kinds as single letters, in the files of older releases.
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
_LATENT = {"latent_in": "fc1_latent_proj", "latent_out": "fc2_latent_proj"}


def _options(entries, epsilon):
  kinds = _kinds(entries)
  makers = {
    "mamba2": _mamba2,
    "attention": _attention,
    "relu2": _dense,
    "experts": _experts,
  }
  layers = {kind: makers[kind](entries, epsilon) for kind in set(kinds)}
  return {
    "mixer": "mamba2",
    "residual_float32": entries.flag("residual_in_fp32", False),
    "layers": tuple(layers[kind] for kind in kinds),
  }


def _kinds(entries):
  """Returns the kind of each layer."""
  name = "hybrid_override_pattern"
  if name in entries.contents and "layers_block_type" not in entries.contents:
    # Read as a list of letters.
    letters = list(entries.get(name, str))
    return entries.replaced(**{name: letters}).kinds(name, _PATTERN)
  return entries.kinds("layers_block_type", _KINDS)


def _mamba2(entries, epsilon):
  entries.choice("mamba_hidden_act", ("silu", "swish"), "silu")
  options = _decoder.read_options(entries, _OPTIONS)
  heads = entries.count("mamba_num_heads", 128)
  options |= {
    "channels": heads * entries.count("mamba_head_dim", 64),
    # The class reads no upper bound.
    "dt_limit": (entries.get("time_step_min", float, 0.001), math.inf),
    "norm_eps": epsilon,
    "norm_groups": options["ngroups"],
  }
  return {"mixer": "mamba2", "mixer_options": options}


def _attention(entries, epsilon):
  del epsilon
  # The width of heads does not follow from the model's width.
  width = {} if entries.contents.get("head_dim") else {"d_head": 128}
  return _decoder.attends(entries, 32, 8, **width)


def _dense(entries, epsilon):
  del epsilon
  return {
    "mixes": False,
    "feedforward": entries.choice("mlp_hidden_act", ("relu2",), "relu2"),
    "feedforward_width": entries.size("intermediate_size", 21504),
    "feedforward_options": {"bias": entries.flag("mlp_bias", False)},
  }


def _experts(entries, epsilon):
  del epsilon
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
      "renormalize": entries.flag("norm_topk_prob", True),
      "scale": entries.get("routed_scaling_factor", float, 1.0),
      "shared_width": entries.size("moe_shared_expert_intermediate_size", 7688),
      "latent_width": entries.count("moe_latent_size", None),
      "bias": entries.flag("mlp_bias", False),
    },
  }


def _layer(layer):
  config = layer.config
  norm = "norm" if config.mixes else "feedforward_norm"
  paths = {f"{norm}/scale": _placement.same(layer.named("norm.weight"))}
  if config.mixes and config.mixer == "mamba2":
    return paths | layer.module("mixer", _mamba_family.MAMBA2)
  if config.mixes:
    return paths | layer.attention("mixer")
  if config.routing is None:
    return paths | layer.dense("mixer", _DENSE)
  return {
    **paths,
    **layer.experts("mixer", _DENSE, bias="gate.e_score_correction_bias"),
    **layer.dense("mixer.shared_experts", _DENSE, "feedforward/shared"),
    **layer.dense("mixer", _LATENT),
  }


FAMILY = _decoder.Decoder(
  _options,
  _layer,
  EMBEDDING="backbone.embeddings.weight",
  LAYERS="backbone.layers",
  # Heads that predict more tokens at once, unused in plain generation.
  IGNORED=re.compile(r"mtp\..+"),
  MODULES=((r"^backbone\.", "model."),),
  norm="backbone.norm_f.weight",
  epsilon=("layer_norm_epsilon", 1e-5),
  width=4096,
  # The class never ties them, whatever `tie_word_embeddings` says.
  tie=None,
  activation=None,
)
