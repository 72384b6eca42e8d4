"""LFM2: `Lfm2ForCausalLM` (arXiv:2511.23404).

Gated short convolutions, with attention in between whose queries and keys are
normalized by head.
"""

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"

_NAMES = {
  "block_ff_dim": "intermediate_size",
  "tie_embedding": "tie_word_embeddings",
}
_KINDS = {"conv": "short_conv", "full_attention": "attention"}
_CONV = {
  "W_in": ("in_proj.weight", _placement.linear),
  "W_in_bias": ("in_proj.bias", _placement.same),
  "conv_weight": ("conv.weight", _placement.conv),
  "conv_bias": ("conv.bias", _placement.same),
  "W_out": ("out_proj.weight", _placement.linear),
  "W_out_bias": ("out_proj.bias", _placement.same),
}
_ATTENTION = {
  **{f"W_{x}": (f"{x}_proj.weight", _placement.linear) for x in "qkv"},
  **{f"{x}_norm": (f"{x}_layernorm.weight", _placement.same) for x in "qk"},
  "W_o": ("out_proj.weight", _placement.linear),
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  entries = entries.named(_NAMES)
  epsilon = entries.epsilon("norm_eps", 1e-5)
  attends = {
    "mixer": "attention",
    "mixer_options": {
      **_decoder.attention_options(entries, 32, 8),
      "positions": "rotary",
      "rotary_base": entries.rotary(base=1e6)[0],
      "qk_norm": "head",
      "eps": epsilon,
    },
  }
  kinds = _kinds(entries)
  taps = entries.taps("conv_L_cache", 3)
  if taps < 2:
    raise entries.error("conv_L_cache", taps, "at least 2")
  stack = {
    "mixer": "short_conv",
    "mixer_options": {
      "d_conv": taps,
      "bias": entries.get("conv_bias", bool, False),
    },
    "d_model": entries.count("hidden_size", 2560),
    "num_layers": len(kinds),
    "norm_epsilon": epsilon,
    "feedforward": "swiglu",
    "feedforward_width": _width(entries),
    "layers": tuple(attends if kind == "attention" else {} for kind in kinds),
  }
  tie = entries.get("tie_word_embeddings", bool, True)
  config = _decoder.network(entries, stack, tie=tie)
  return config, entries.get("vocab_size", int)


def _kinds(entries):
  """Mixers of the layers; all attend where nothing is said."""
  if entries.contents.get("layer_types") is not None:
    return entries.kinds("layer_types", _KINDS)
  count = entries.get("num_hidden_layers", int)
  attend = entries.contents.get("full_attn_idxs")
  attend = list(range(count)) if attend is None else attend
  if not isinstance(attend, list):
    raise entries.error("full_attn_idxs", attend, "a list of numbers of layers")
  return tuple(
    "attention" if i in attend else "short_conv" for i in range(count)
  )


def _width(entries):
  """Width of the feed-forward, which may be adjusted first."""
  width = entries.size("intermediate_size", 12288, times=2)
  if not entries.get("block_auto_adjust_ff_dim", bool, True):
    return width
  width = 2 * width // 3
  if entries.contents.get("block_ffn_dim_multiplier", 1.0) is None:
    return width
  factor = entries.get("block_ffn_dim_multiplier", float, 1.0)
  multiple = entries.count("block_multiple_of", 256)
  return -(-int(factor * width) // multiple) * multiple


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  paths = _decoder.frame(EMBEDDING, "model.embedding_norm.weight")
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    paths |= _decoder.norms(ours, theirs, "operator_norm", "ffn_norm")
    if config.stack.every_layer[i].mixer == "attention":
      table, name = _ATTENTION, "self_attn"
    else:
      table, name = _CONV, "conv"
    paths |= _decoder.renamed(f"{ours}/mixer", f"{theirs}.{name}", table)
    layers = {"in": "w1", "gate": "w3", "out": "w2"}
    half = f"{ours}/feedforward", f"{theirs}.feed_forward"
    paths |= _decoder.dense(*half, layers)
  return paths
