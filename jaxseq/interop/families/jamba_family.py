"""Jamba: `JambaForCausalLM` (arXiv:2403.19887).

Mamba with norms of step sizes, B and C, attention without positions every few
layers, and a mixture of experts every few layers.
"""

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_layers

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"

_OPTIONS = {
  "expand": ("mamba_expand", int, 2),
  "d_conv": ("mamba_d_conv", int, 4),
  "d_state": ("mamba_d_state", int, 16),
  "conv_bias": ("mamba_conv_bias", bool, True),
  "bias": ("mamba_proj_bias", bool, False),
}
_MAMBA = _mamba_layers.MAMBA | {
  "dt_norm": ("dt_layernorm.weight", _placement.same),
  "B_norm": ("b_layernorm.weight", _placement.same),
  "C_norm": ("c_layernorm.weight", _placement.same),
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  _decoder.check_silu(entries)
  epsilon = entries.epsilon("rms_norm_eps", 1e-6)
  mamba = _mamba_layers.read_options(entries, _OPTIONS)
  mamba |= {"norm": "scaled", "norm_eps": epsilon}
  if entries.contents.get("mamba_dt_rank", "auto") != "auto":
    mamba["dt_rank"] = entries.size("mamba_dt_rank")
  attention = {
    "mixer": "attention",
    "mixer_options": _decoder.attention_options(entries, 32, 8),
  }
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
  count = entries.get("num_hidden_layers", int)
  attends = _every(entries, "attn_layer", 8, 4)
  mixed = _every(entries, "expert_layer", 2, 1)
  stack = {
    "mixer": "mamba",
    "mixer_options": mamba,
    "d_model": entries.size("hidden_size"),
    "num_layers": count,
    "norm_epsilon": epsilon,
    "feedforward": "swiglu",
    "feedforward_width": entries.size("intermediate_size", 14336),
    "layers": tuple(
      (attention if attends(i) else {})
      | (experts if mixed(i) and number > 1 else {})
      for i in range(count)
    ),
  }
  tie = entries.get("tie_word_embeddings", bool, False)
  config = _decoder.network(entries, stack, tie=tie)
  return config, entries.get("vocab_size", int)


def _every(entries, name, period, offset):
  """Returns a function of a layer's number: whether it is one of these."""
  period = entries.get(f"{name}_period", int, period)
  if period < 1:
    raise entries.error(f"{name}_period", period, "at least 1")
  offset = entries.get(f"{name}_offset", int, offset)
  return lambda i: i % period == offset


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  paths = _decoder.frame(EMBEDDING, "model.final_layernorm.weight")
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    half = f"{theirs}.feed_forward"
    paths |= _decoder.norms(ours, theirs, "input_layernorm", "pre_ff_layernorm")
    if config.stack.every_layer[i].mixer == "mamba":
      paths |= _decoder.renamed(f"{ours}/mixer", f"{theirs}.mamba", _MAMBA)
    else:
      paths |= _decoder.attention(f"{ours}/mixer", f"{theirs}.self_attn")
    routing = config.stack.every_layer[i].routing
    if routing is None:
      paths |= _decoder.gated(f"{ours}/feedforward", half)
    else:
      paths[f"{ours}/feedforward/router/kernel"] = _placement.linear(
        f"{half}.router.weight"
      )
      paths |= _decoder.experts(
        f"{ours}/feedforward",
        f"{half}.experts",
        routing.experts,
        _decoder.GATED,
      )
  return paths
