"""RecurrentGemma: `RecurrentGemmaForCausalLM` (arXiv:2404.07839).

Griffin (arXiv:2402.19427): two layers of the recurrent block with RG-LRU, then
  one of windowed attention. Norms multiply by 1 + w, embeddings are scaled by
  the square root of their width, and logits are capped.
"""

import jax.numpy as jnp
import numpy as np

from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder

_KINDS = {"recurrent": "rglru", "attention": "attention"}
_RECURRENT = _decoder.tensors(
  {"W_x": "linear_x", "W_y": "linear_y", "W_o": "linear_out"},
  {
    "b_x": "linear_x.bias",
    "b_y": "linear_y.bias",
    "b_o": "linear_out.bias",
    "W_i": "rg_lru.input_gate_weight",
    "W_r": "rg_lru.recurrent_gate_weight",
    "Lambda": "rg_lru.recurrent_param",
  },
  "conv_1d",
)
_GELU = "gelu_pytorch_tanh"


def _options(entries, epsilon):
  del epsilon
  entries.choice("hidden_activation", (_GELU,), _GELU)
  width = entries.count("hidden_size", 2560)
  heads = entries.count("num_attention_heads", 10)
  window = entries.get("attention_window_size", int, 2048)
  if window < 2:
    raise entries.error("attention_window_size", window, "at least 2")
  attends = _decoder.attends(
    # The file's head_dim is ignored: it follows from the other two.
    entries.replaced(head_dim=None),
    10,
    rotary=0.5,
    # There the window includes the element itself.
    window=window - 1,
    qkv_bias=entries.flag("attention_bias", False),
    output_bias=True,
  )
  return {
    "mixer": "rglru",
    "mixer_options": {
      "d_hidden": entries.count("lru_width", None) or width,
      "heads": heads,
      "d_conv": entries.taps("conv1d_width", 4, 2),
    },
    "feedforward": "geglu",
    # There it is the joint width of both halves.
    "feedforward_width": entries.size("intermediate_size", 7680, times=2) // 2,
    "feedforward_options": {"bias": True},
    "layers": tuple(
      attends if kind == "attention" else {} for kind in _kinds(entries)
    ),
    # There the factor is rounded to bfloat16, whatever the dtype.
    "embedding_scale": float(np.asarray(width**0.5, jnp.bfloat16)),
    "logit_cap": entries.epsilon("logits_soft_cap", 30.0),
  }


def _kinds(entries):
  """Returns the mixers of the layers, which repeat a list of kinds."""
  said = entries.contents.get("block_types")
  said = ["recurrent", "recurrent", "attention"] if said is None else said
  if not isinstance(said, list) or not said:
    raise entries.error("block_types", said, "a list of kinds of layers")
  turns = [said[i % len(said)] for i in range(entries.layers)]
  return entries.replaced(block_types=turns).kinds("block_types", _KINDS)


def _layer(layer):
  norms = "temporal_pre_norm", "channel_pre_norm"
  paths = layer.norms(*norms, _placement.centered) | layer.dense("mlp_block")
  if layer.config.mixer == "attention":
    return paths | layer.attention("temporal_block")
  for name, tensor in (("i", "input_gate"), ("r", "recurrent_gate")):
    bias = layer.named(f"temporal_block.rg_lru.{tensor}_bias")
    paths[f"mixer/b_{name}"] = _by_head(bias, layer.mixer.heads)
  return paths | layer.module("temporal_block", _RECURRENT)


def _by_head(name, heads):
  """The place of one vector per head, joined into one parameter."""
  return _placement.Place(
    (name,), lambda x: (x.reshape(heads, -1),), lambda x: np.reshape(x, -1)
  )


FAMILY = _decoder.Decoder(
  _options,
  _layer,
  norm="model.final_norm.weight",
  norm_place=_placement.centered,
  width=2560,
  tie=True,
  activation=None,
)
