"""MiniMax: `MiniMaxForCausalLM` (arXiv:2501.08313).

Lightning attention, which is linear attention with a fixed decay for each head
and layer, alternates with attention; every layer has a mixture of experts. A
residual sum starts from the normed input, that is, the norm follows the sum
before it; the first norm follows the embedding.
"""

import re

import numpy as np

from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder

_KINDS = {
  "linear_attention": "linear_attention",
  "full_attention": "attention",
}
_EXPERT = {"in": "w1", "gate": "w3", "out": "w2"}
_LINEAR = _decoder.tensors(
  {"W_g": "output_gate", "W_o": "out_proj"}, {"norm_scale": "norm.weight"}
)
# The epsilon of lightning attention's norm, whatever the other norms have.
_EPSILON = 1e-6


def _options(entries, epsilon):
  del epsilon
  kinds = _kinds(entries)
  attends = {}
  if "attention" in kinds:
    attends = _decoder.attends(entries, 32, 8, rotary=1.0, base=1e6)
  return {
    "mixer": "linear_attention",
    "prenorm": False,
    "embedding_norm": True,
    "feedforward": "experts",
    "feedforward_width": entries.count("intermediate_size", 14336),
    "feedforward_options": {
      "experts": entries.count("num_local_experts", 8),
      "active": entries.count("num_experts_per_tok", 2),
      "score": "softmax",
    },
    "layers": tuple(
      attends
      if kind == "attention"
      else {"mixer_options": _lightning(entries, number)}
      for number, kind in enumerate(kinds)
    ),
  }


def _kinds(entries):
  """Returns the mixers of the layers; by default every second is attention."""
  if entries.contents.get("layer_types") is not None:
    return entries.kinds("layer_types", _KINDS)
  turns = "linear_attention", "attention"
  return tuple(turns[i % 2] for i in range(entries.layers))


def _lightning(entries, number):
  """Returns the options of lightning attention in a layer."""
  heads = entries.count("num_attention_heads", 32)
  width = entries.count("head_dim", None)
  if width is None:
    width = entries.count("hidden_size") // heads
  depth = 1 - number / (entries.layers - 1 + 1e-5) + 1e-5
  return {
    "heads": heads,
    "d_key": width,
    "d_value": width,
    "feature_map": "silu",
    "value_map": "silu",
    "decay": "fixed",
    "log_decays": tuple(
      -depth * 2.0 ** (-8 * (head + 1) / heads) for head in range(heads)
    ),
    "normalization": "rms_width",
    # There queries are not divided by the square root of their width.
    "eps": _EPSILON / width,
    "gate": "sigmoid",
  }


def _layer(layer):
  attends = layer.config.mixer == "attention"
  kind = "full" if attends else "linear"
  if attends:
    paths = layer.attention()
  else:
    paths = layer.module("self_attn", _LINEAR) | _by_head(layer)
  paths |= layer.experts("block_sparse_moe", _EXPERT)
  last = layer.number + 1 == layer.stack.num_layers
  after = f"{FAMILY.LAYERS}.{layer.number + 1}.input_layernorm.weight"
  # Norms include the inputs' factors, which are divided out of the mixers.
  seen = _factor(layer.entries, f"{kind}_attn_alpha")
  mixed = _factor(layer.entries, "mlp_alpha")
  factors = {
    "mixer/W_o": _factor(layer.entries, f"{kind}_attn_beta"),
    **{f"mixer/W_{x}": 1 / seen for x in "qkvg"},
    "feedforward/out": _factor(layer.entries, "mlp_beta"),
    **{f"feedforward/{x}": 1 / mixed for x in ("in", "gate", "router/kernel")},
  }
  paths = {
    path: _placement.scaled(place, factors.get(path, 1.0))
    for path, place in paths.items()
  }
  middle = _placement.same(layer.named("post_attention_layernorm.weight"))
  paths["norm/scale"] = _placement.scaled(middle, mixed)
  if last:
    paths["feedforward_norm/scale"] = _placement.same(FAMILY.norm)
  else:
    place = _placement.same(after)
    factor = _input_factor(layer.stack, layer.entries, layer.number + 1)
    paths["feedforward_norm/scale"] = _placement.scaled(place, factor)
  return paths


def _input_factor(stack, entries, number):
  """Returns the factor of the input of a layer."""
  attends = stack.every_layer[number].mixer == "attention"
  return _factor(entries, f"{'full' if attends else 'linear'}_attn_alpha")


def _factor(entries, name):
  """Returns a factor of the residual sums."""
  return entries.epsilon(f"{name}_factor", 1.0)


def _by_head(layer):
  """Returns the places of queries, keys and values, interleaved by head."""
  mixer = layer.mixer
  size = 3 * mixer.heads * mixer.key_width
  rows = np.arange(size).reshape(mixer.heads, 3, -1).swapaxes(0, 1)
  whole = _placement.linear(layer.named("self_attn.qkv_proj.weight"))
  return {
    f"mixer/W_{name}": _placement.rows(whole, index.ravel(), size)
    for name, index in zip("qkv", rows, strict=True)
  }


class _MiniMax(_decoder.Decoder):
  """A decoder whose first norm is the embedding's."""

  def places(self, config, entries):
    """Returns the places of the parameters."""
    place = _placement.same(f"{self.LAYERS}.0.input_layernorm.weight")
    factor = _input_factor(config.stack, entries, 0)
    first = {"embedding_norm/scale": _placement.scaled(place, factor)}
    return super().places(config, entries) | first


# Tensors that follow from config.json are stored as well.
_DERIVED = re.compile(r".*\.self_attn\.(slope_rate|(query|key|diagonal)_decay)")

FAMILY = _MiniMax(
  _options,
  _layer,
  IGNORED=_DERIVED,
  DERIVED=_DERIVED,
  MODULES=((r"\.block_sparse_moe\.", ".mlp."),),
  epsilon=("rms_norm_eps", 1e-5),
)
