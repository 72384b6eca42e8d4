"""Jamba: `JambaForCausalLM` (arXiv:2403.19887).

Mamba with norms of step sizes, B and C, attention without positions every few
layers, and a mixture of experts every few layers.
"""

from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_family

_OPTIONS = {
  "expand": ("mamba_expand", int, 2),
  "d_conv": ("mamba_d_conv", int, 4),
  "d_state": ("mamba_d_state", int, 16),
  "conv_bias": ("mamba_conv_bias", bool, True),
  "bias": ("mamba_proj_bias", bool, False),
}
_NORMS = {
  f"{x}_norm": f"{x.lower()}_layernorm.weight" for x in ("dt", "B", "C")
}
_MAMBA = {**_mamba_family.MAMBA, **_decoder.tensors(same=_NORMS)}


def _options(entries, epsilon):
  mamba = _decoder.read_options(entries, _OPTIONS)
  mamba |= {"norm": "scaled", "norm_eps": epsilon}
  if entries.contents.get("mamba_dt_rank", "auto") != "auto":
    mamba["dt_rank"] = entries.size("mamba_dt_rank")
  attention = _decoder.attends(entries, 32, 8)
  number = entries.count("num_experts", 16)
  experts = {
    "feedforward": "experts",
    "feedforward_options": {
      "experts": number,
      "active": entries.count("num_experts_per_tok", 2),
      "score": "softmax",
      "renormalize": False,
    },
  }
  attends = _every(entries, "attn_layer", 8, 4)
  mixed = _every(entries, "expert_layer", 2, 1)
  return {
    "mixer": "mamba",
    "mixer_options": mamba,
    **_decoder.swiglu(entries, 14336),
    "layers": tuple(
      (attention if attends(i) else {})
      | (experts if mixed(i) and number > 1 else {})
      for i in range(entries.layers)
    ),
  }


def _every(entries, name, period, offset):
  """Returns a predicate of layer numbers, from period and offset entries."""
  period = entries.get(f"{name}_period", int, period)
  if period < 1:
    raise entries.error(f"{name}_period", period, "at least 1")
  offset = entries.get(f"{name}_offset", int, offset)
  return lambda i: i % period == offset


def _layer(layer):
  paths = layer.norms("input_layernorm", "pre_ff_layernorm")
  if layer.config.mixer == "mamba":
    paths |= layer.module("mamba", _MAMBA)
  else:
    paths |= layer.attention()
  if layer.config.routing is None:
    return paths | layer.dense("feed_forward")
  return paths | layer.experts("feed_forward", router="router")


FAMILY = _decoder.Decoder(_options, _layer, norm="model.final_layernorm.weight")
