"""LFM2: `Lfm2ForCausalLM` (arXiv:2511.23404).

Gated short convolutions, with some attention layers whose queries and keys are
normalized by head.
"""

from jaxseq.interop.families import _decoder

_NAMES = {
  "block_ff_dim": "intermediate_size",
  "tie_embedding": "tie_word_embeddings",
}
_KINDS = {"conv": "short_conv", "full_attention": "attention"}
_CONV = _decoder.tensors({"W_in": "in_proj", "W_out": "out_proj"}, conv="conv")
_ATTENTION = _decoder.tensors(
  {**{f"W_{x}": f"{x}_proj" for x in "qkv"}, "W_o": "out_proj"},
  {f"{x}_norm": f"{x}_layernorm.weight" for x in "qk"},
)


def _options(entries, epsilon):
  attends = _decoder.attends(
    entries,
    32,
    8,
    positions="rotary",
    rotary_base=entries.rotary(base=1e6)[0],
    qk_norm="head",
    eps=epsilon,
  )
  return {
    "mixer": "short_conv",
    "mixer_options": {
      "d_conv": entries.taps("conv_L_cache", 3, 2),
      "bias": entries.flag("conv_bias", False),
    },
    "feedforward": "swiglu",
    "feedforward_width": _width(entries),
    "layers": tuple(
      attends if kind == "attention" else {} for kind in _kinds(entries)
    ),
  }


def _kinds(entries):
  """Returns the mixers of the layers; all are attention by default."""
  if entries.contents.get("layer_types") is not None:
    return entries.kinds("layer_types", _KINDS)
  count = entries.layers
  attend = entries.contents.get("full_attn_idxs")
  attend = list(range(count)) if attend is None else attend
  if not isinstance(attend, list):
    raise entries.error("full_attn_idxs", attend, "a list of numbers of layers")
  return tuple(
    "attention" if i in attend else "short_conv" for i in range(count)
  )


def _width(entries):
  """Returns the width of the feed-forward, adjusted by default."""
  width = entries.size("intermediate_size", 12288, times=2)
  if not entries.flag("block_auto_adjust_ff_dim", True):
    return width
  width = 2 * width // 3
  if entries.contents.get("block_ffn_dim_multiplier", 1.0) is None:
    return width
  factor = entries.get("block_ffn_dim_multiplier", float, 1.0)
  multiple = entries.count("block_multiple_of", 256)
  return -(-int(factor * width) // multiple) * multiple


def _layer(layer):
  paths = layer.norms("operator_norm", "ffn_norm")
  if layer.config.mixer == "attention":
    paths |= layer.module("self_attn", _ATTENTION)
  else:
    paths |= layer.module("conv", _CONV)
  names = {"in": "w1", "gate": "w3", "out": "w2"}
  return paths | layer.dense("feed_forward", names)


FAMILY = _decoder.Decoder(
  _options,
  _layer,
  norm="model.embedding_norm.weight",
  epsilon=("norm_eps", 1e-5),
  width=2560,
  tie=True,
  activation=None,
  prepare=lambda entries: entries.named(_NAMES),
)
