"""OLMo-Hybrid: `OlmoHybridForCausalLM`.

Three layers of Gated DeltaNet (arXiv:2412.06464), by default with eigenvalues
down to -1 (arXiv:2411.12537), then one of attention whose queries and keys are
normalized over all heads. DeltaNet layers have norms before each half,
attention layers after it.
"""

from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _delta_layers

_DELTA = _decoder.tensors(
  {"W_b": "b_proj", "W_a": "a_proj", "W_g": "g_proj", "W_o": "o_proj"},
  {"A_log": "A_log", "dt_bias": "dt_bias", "norm_scale": "o_norm.weight"},
)
_NORMS = _decoder.tensors(same={f"{x}_norm": f"{x}_norm.weight" for x in "qk"})


def _options(entries, epsilon):
  width = entries.count("hidden_size", 3840)
  attends = _decoder.attends(
    entries,
    30,
    bias="attention_bias",
    qk_norm="width",
    eps=epsilon,
    **_positions(entries),
  )
  attends["norm_output"] = True
  return {
    "mixer": "gated_deltanet",
    "mixer_options": {
      **_delta_options(entries, width),
      "negative_eigenvalues": entries.flag("linear_allow_neg_eigval", True),
      # Whatever epsilon the other norms have.
      "eps": 1e-5,
    },
    **_decoder.swiglu(entries, 11008),
    "layers": tuple(
      attends if kind == "attention" else {} for kind in _kinds(entries)
    ),
  }


def _kinds(entries):
  """Returns the mixers of the layers; the last is attention if no other is."""
  if entries.contents.get("layer_types") is not None:
    return _delta_layers.kinds(entries)
  kinds = _delta_layers.kinds(entries.replaced(full_attention_interval=4))
  return kinds if "attention" in kinds else (*kinds[:-1], "attention")


def _delta_options(entries, width):
  """Returns the options of the delta rule; defaults follow attention's."""

  def default(entries, name, value):
    if entries.contents.get(name) is not None:
      return entries
    return entries.replaced(**{name: value})

  heads = entries.count("num_attention_heads", 30)
  for name in ("linear_num_key_heads", "linear_num_value_heads"):
    entries = default(entries, name, heads)
  keys = 3 * width // (4 * entries.count("linear_num_key_heads"))
  entries = default(entries, "linear_key_head_dim", keys)
  keys = entries.count("linear_key_head_dim")
  entries = default(entries, "linear_value_head_dim", 2 * keys)
  return _delta_layers.options(entries, heads, heads, None)


def _positions(entries):
  """Returns the options of rotary positions; a null base means no positions."""
  read = entries.contents.get
  said = read("rope_scaling") or read("rope_parameters") or {}
  if not isinstance(said, dict):
    raise entries.error("rope_parameters", said, "an object")
  for place in (said, entries.contents):
    if "rope_theta" in place:
      if place["rope_theta"] is None:
        return {"positions": "none"}
      break
  # Whole heads are rotated.
  base, _ = entries.rotary()
  return {"positions": "rotary", "rotary_base": base}


def _layer(layer):
  def present(*names):
    """Returns the first norm name that has a tensor."""
    shape = layer.entries.shape
    held = (x for x in names if shape(layer.named(f"{x}.weight")))
    return next(held, names[0])

  paths = layer.dense("mlp")
  middle = present("post_attention_layernorm", "feedforward_layer_norm")
  if layer.config.mixer == "attention":
    paths |= layer.norms(middle, "post_feedforward_layernorm")
    return paths | layer.attention() | layer.module("self_attn", _NORMS)
  first = present("input_layernorm", "attention_layer_norm")
  paths |= layer.norms(first, middle)
  paths |= _delta_layers.separate(layer, "linear_attn")
  return paths | layer.module("linear_attn", _DELTA)


FAMILY = _decoder.Decoder(
  _options,
  _layer,
  MODULES=(
    (r"\.attention_layer_norm$", ".input_layernorm"),
    (r"\.feedforward_layer_norm$", ".post_attention_layernorm"),
  ),
  width=3840,
)
