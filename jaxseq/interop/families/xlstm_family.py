"""xLSTM-7B: `xLSTMForCausalLM` (arXiv:2503.13427).

Every layer has a matrix memory with exponential gates, and a gated feed-forward
network. Gates and logits are bounded.
"""

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder

EMBEDDING = "backbone.embeddings.weight"
LAYERS = "backbone.blocks"

_PROJECTIONS = {
  "W_q": "q",
  "W_k": "k",
  "W_v": "v",
  "W_g": "ogate_preact",
  "W_o": "out_proj",
}
_FEEDFORWARD = {"in": "proj_up_gate", "gate": "proj_up", "out": "proj_down"}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  width = entries.count("hidden_size", 4096)
  _same(entries, "embedding_dim", width)
  count = entries.get("num_hidden_layers", int, 32)
  _same(entries, "num_blocks", count)
  entries.choice("add_out_norm", (True,), True)
  entries.choice("use_bias", (False,), False)
  entries.choice("weight_mode", ("single",), "single")
  heads = entries.count("num_heads", 8)
  epsilon = entries.epsilon("norm_eps", 1e-6)
  stack = {
    "mixer": "mlstm_large",
    "mixer_options": {
      "heads": heads,
      "d_key": _by_head(entries, "qk_dim_factor", 0.5, width, heads),
      "d_value": _by_head(entries, "v_dim_factor", 1.0, width, heads),
      "gate_cap": entries.epsilon("gate_soft_cap", 15.0),
      "eps": epsilon,
      "divisor_eps": entries.epsilon("eps", 1e-6),
    },
    "d_model": width,
    "num_layers": count,
    "norm_epsilon": epsilon,
    "feedforward": "swiglu",
    "feedforward_width": _rounded(entries, width),
  }
  config = _decoder.network(
    entries,
    stack,
    tie=entries.get("tie_word_embeddings", bool, False),
    logit_cap=entries.epsilon("output_logit_soft_cap", 30.0),
  )
  return config, entries.get("vocab_size", int)


def _same(entries, name, value):
  """Checks a second entry for the same number."""
  if entries.contents.get(name) is not None:
    entries.choice(name, (value,), value)


def _by_head(entries, name, factor, width, heads):
  """Width of a head, of all heads' width by a factor on the model's."""
  factor = entries.epsilon(name, factor)
  total = int(width * factor)
  if total < heads or total % heads:
    expected = f"a factor that makes {width} a multiple of num_heads = {heads}"
    raise entries.error(name, factor, expected)
  return total // heads


def _rounded(entries, width):
  """Width of the feed-forward network, rounded up to a multiple."""
  factor = entries.epsilon("ffn_proj_factor", 2.667)
  step = entries.count("ffn_round_up_to_multiple_of", 64)
  return int((width * factor + step - 1) // step * step)


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  paths = _decoder.frame(EMBEDDING, "backbone.out_norm.weight")
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    paths |= _decoder.norms(ours, theirs, "norm_mlstm", "norm_ffn")
    mixer = config.stack.every_layer[i].mixer_config
    module = f"{ours}/mixer", f"{theirs}.mlstm_layer"
    paths |= _memory(*module, mixer.heads)
    half = f"{ours}/feedforward", f"{theirs}.ffn"
    paths |= _decoder.dense(*half, _FEEDFORWARD)
  return paths


def _memory(ours, theirs, heads):
  """Places of the mixer, whose two gates are side by side."""
  table = {"norm_scale": ("multihead_norm.weight", _placement.same)}
  for here, there in _PROJECTIONS.items():
    table[here] = f"{there}.weight", _placement.linear
  paths = _decoder.renamed(ours, theirs, table)
  gates = [f"{theirs}.{name}gate_preact" for name in "if"]
  sizes = heads, heads
  for name, part, layout in (
    ("W_if", "weight", _placement.linear),
    ("W_if_bias", "bias", _placement.same),
  ):
    places = [layout(f"{gate}.{part}") for gate in gates]
    paths[f"{ours}/{name}"] = _placement.joined(places, sizes, -1)
  return paths
