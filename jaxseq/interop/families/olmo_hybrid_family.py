"""OLMo-Hybrid: `OlmoHybridForCausalLM`.

Three layers of Gated DeltaNet (arXiv:2412.06464), by default with eigenvalues
down to -1 (arXiv:2411.12537), then one of attention whose queries and keys are
normalized over all heads. Norms of the former stand in front of each half,
those of the latter behind it.
"""

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _delta_layers

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"

_DELTA = {
  "W_b": ("b_proj.weight", _placement.linear),
  "W_a": ("a_proj.weight", _placement.linear),
  "W_g": ("g_proj.weight", _placement.linear),
  "A_log": ("A_log", _placement.same),
  "dt_bias": ("dt_bias", _placement.same),
  "norm_scale": ("o_norm.weight", _placement.same),
  "W_o": ("o_proj.weight", _placement.linear),
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  _decoder.check_silu(entries)
  epsilon = entries.epsilon("rms_norm_eps", 1e-6)
  width = entries.count("hidden_size", 3840)
  bias = entries.get("attention_bias", bool, False)
  attends = {
    "mixer": "attention",
    "mixer_options": {
      **_decoder.attention_options(entries, 30),
      **_positions(entries),
      "qkv_bias": bias,
      "output_bias": bias,
      "qk_norm": "width",
      "eps": epsilon,
    },
    "norm_output": True,
  }
  kinds = _kinds(entries)
  stack = {
    "mixer": "gated_deltanet",
    "mixer_options": {
      **_delta(entries, width),
      "negative_eigenvalues": entries.get(
        "linear_allow_neg_eigval", bool, True
      ),
      # Whatever the other norms add.
      "eps": 1e-5,
    },
    "d_model": width,
    "num_layers": len(kinds),
    "norm_epsilon": epsilon,
    "feedforward": "swiglu",
    "feedforward_width": entries.count("intermediate_size", 11008),
    "layers": tuple(attends if kind == "attention" else {} for kind in kinds),
  }
  tie = entries.get("tie_word_embeddings", bool, False)
  config = _decoder.network(entries, stack, tie=tie)
  return config, entries.get("vocab_size", int)


def _kinds(entries):
  """Mixers of the layers; the last one attends if no other does."""
  if entries.contents.get("layer_types") is not None:
    return _delta_layers.kinds(entries)
  kinds = _delta_layers.kinds(entries.replaced(full_attention_interval=4))
  return kinds if "attention" in kinds else (*kinds[:-1], "attention")


def _delta(entries, width):
  """Options of the delta rule, with defaults by those of attention."""
  heads = entries.count("num_attention_heads", 30)
  entries = entries.replaced(
    **{
      name: default
      for name, default in (
        ("linear_num_key_heads", heads),
        ("linear_num_value_heads", heads),
      )
      if entries.contents.get(name) is None
    }
  )
  key_heads = entries.count("linear_num_key_heads")
  keys = entries.count("linear_key_head_dim", None)
  if keys is None:
    keys = 3 * width // (4 * key_heads)
    entries = entries.replaced(linear_key_head_dim=keys)
  if entries.contents.get("linear_value_head_dim") is None:
    entries = entries.replaced(linear_value_head_dim=2 * keys)
  return _delta_layers.options(entries, heads, heads, None)


def _positions(entries):
  """Options of rotary positions; a base of null stands for none."""
  said = entries.contents.get("rope_parameters") or {}
  if not isinstance(said, dict):
    raise entries.error("rope_parameters", said, "an object")
  for place in (said, entries.contents):
    if "rope_theta" in place:
      if place["rope_theta"] is None:
        return {"positions": "none"}
      break
  # Whole heads are turned.
  base, _ = entries.rotary()
  return {"positions": "rotary", "rotary_base": base}


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  paths = _decoder.frame(EMBEDDING, "model.norm.weight")
  for i in range(config.stack.num_layers):
    layer = config.stack.every_layer[i]
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    mixer = layer.mixer_config

    def own(*names, theirs=theirs):
      """The first name of a norm that there is a tensor of."""
      held = (x for x in names if entries.shape(f"{theirs}.{x}.weight"))
      return next(held, names[0])

    middle = own("post_attention_layernorm", "feedforward_layer_norm")
    if layer.mixer == "attention":
      last = "post_feedforward_layernorm"
      paths |= _decoder.norms(ours, theirs, middle, last)
      paths |= _decoder.attention(f"{ours}/mixer", f"{theirs}.self_attn")
      for name in "qk":
        paths[f"{ours}/mixer/{name}_norm"] = _placement.same(
          f"{theirs}.self_attn.{name}_norm.weight"
        )
    else:
      first = own("input_layernorm", "attention_layer_norm")
      paths |= _decoder.norms(ours, theirs, first, middle)
      module = f"{ours}/mixer", f"{theirs}.linear_attn"
      paths |= _delta_layers.separate(mixer, entries, *module)
      paths |= _decoder.renamed(*module, _DELTA)
    paths |= _decoder.gated(f"{ours}/feedforward", f"{theirs}.mlp")
  return paths
