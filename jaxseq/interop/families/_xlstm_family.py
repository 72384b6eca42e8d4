"""xLSTM-7B: `xLSTMForCausalLM` (arXiv:2503.13427).

Every layer has a matrix memory with exponential gates, and a gated
feed-forward. Gates and logits are capped.
"""

from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder

_MEMORY = _decoder.tensors(
  {
    "W_q": "q",
    "W_k": "k",
    "W_v": "v",
    "W_g": "ogate_preact",
    "W_o": "out_proj",
  },
  {"norm_scale": "multihead_norm.weight"},
)
_FEEDFORWARD = {"in": "proj_up_gate", "gate": "proj_up", "out": "proj_down"}


def _options(entries, epsilon):
  width = entries.count("hidden_size", 4096)
  count = entries.get("num_hidden_layers", int, 32)
  for name, value in (("embedding_dim", width), ("num_blocks", count)):
    # These are second entries for the same numbers.
    if entries.contents.get(name) is not None:
      entries.choice(name, (value,), value)
  entries.choice("add_out_norm", (True,), True)
  entries.choice("use_bias", (False,), False)
  entries.choice("weight_mode", ("single",), "single")
  heads = entries.count("num_heads", 8)
  return {
    "mixer": "mlstm_large",
    "mixer_options": {
      "heads": heads,
      "d_key": _by_head(entries, "qk_dim_factor", 0.5, width, heads),
      "d_value": _by_head(entries, "v_dim_factor", 1.0, width, heads),
      "gate_cap": entries.epsilon("gate_soft_cap", 15.0),
      "eps": epsilon,
      "divisor_eps": entries.epsilon("eps", 1e-6),
    },
    "num_layers": count,
    "feedforward": "swiglu",
    "feedforward_width": _rounded(entries, width),
    "logit_cap": entries.epsilon("output_logit_soft_cap", 30.0),
  }


def _by_head(entries, name, factor, width, heads):
  """Returns a head's width, from a factor of all heads' width."""
  factor = entries.epsilon(name, factor)
  total = int(width * factor)
  if total < heads or total % heads:
    expected = f"a factor that makes {width} a multiple of num_heads = {heads}"
    raise entries.error(name, factor, expected)
  return total // heads


def _rounded(entries, width):
  """Returns the feed-forward's width, rounded up to a multiple."""
  factor = entries.epsilon("ffn_proj_factor", 2.667)
  step = entries.count("ffn_round_up_to_multiple_of", 64)
  return int((width * factor + step - 1) // step * step)


def _layer(layer):
  paths = {
    **layer.norms("norm_mlstm", "norm_ffn"),
    **layer.module("mlstm_layer", _MEMORY),
    **layer.dense("ffn", _FEEDFORWARD),
  }
  # The two gates are concatenated.
  gates = [layer.named(f"mlstm_layer.{name}gate_preact") for name in "if"]
  for name, part, place in (
    ("W_if", "weight", _placement.linear),
    ("W_if_bias", "bias", _placement.same),
  ):
    places = [place(f"{gate}.{part}") for gate in gates]
    sizes = (layer.mixer.heads,) * 2
    paths[f"mixer/{name}"] = _placement.joined(places, sizes, -1)
  return paths


FAMILY = _decoder.Decoder(
  _options,
  _layer,
  EMBEDDING="backbone.embeddings.weight",
  LAYERS="backbone.blocks",
  norm="backbone.out_norm.weight",
  epsilon=("norm_eps", 1e-6),
  width=4096,
  activation=None,
)
