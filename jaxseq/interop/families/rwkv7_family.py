"""RWKV-7: `RWKV7ForCausalLM` of flash-linear-attention (arXiv:2503.14456).

Directories as that library's script makes them of the files of BlinkDL's
RWKV-LM, whose tensors are the same under other names. The epsilon of the heads'
norms is that of the others times a head's width.
"""

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import rwkv_family

EMBEDDING = "model.embeddings.weight"
LAYERS = "model.layers"

_RANKS = {
  "decay_rank": "decay_low_rank_dim",
  "rate_rank": "a_low_rank_dim",
  "value_rank": "v_low_rank_dim",
  "gate_rank": "gate_low_rank_dim",
}
_MIXER = {
  **{f"mu_{name}": (f"x_{name}", rwkv_family.vector) for name in "rwkvag"},
  **{f"W_{x}": (f"{x}_proj.weight", _placement.linear) for x in "rkvo"},
  **{
    f"{name}{i}": (f"{name}_lora.lora.{there}", layout)
    for name in "wavg"
    for i, there, layout in (
      (0, "2.bias", _placement.same),
      (1, "0.weight", _placement.linear),
      (2, "2.weight", _placement.linear),
    )
  },
  **{name: (name, _placement.same) for name in ("k_k", "k_a", "r_k")},
  "norm_scale": ("g_norm.weight", _placement.same),
  "norm_bias": ("g_norm.bias", _placement.same),
}
_CHANNEL_MIX = {
  "mu_k": ("x_k", _placement.same),
  "W_k": ("key.weight", _placement.linear),
  "W_v": ("value.weight", _placement.linear),
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  width = entries.count("hidden_size")
  layers = entries.get("num_hidden_layers", int)
  epsilon = entries.epsilon("norm_eps", 1e-5)
  head = entries.count("head_dim", None)
  if head is None:
    heads = entries.count("num_heads", None)
    head = 64 if heads is None else width // heads
  entries.choice("hidden_act", ("sqrelu",), "sqrelu")
  entries.choice("norm_bias", (True,), True)
  entries.choice("attn", (None,), None)
  entries.choice("value_dim", (None, width, [width] * layers), None)
  ranks = {ours: entries.count(name, None) for ours, name in _RANKS.items()}
  stack = {
    "mixer": "rwkv7",
    "mixer_options": {"head_size": head, "eps": head * epsilon, **ranks},
    "d_model": width,
    "num_layers": layers,
    "norm": "layer",
    "norm_epsilon": epsilon,
    "feedforward": "channel_mix",
    "feedforward_width": _inner_width(entries, width),
  }
  config = _decoder.network(
    entries,
    stack,
    tie=entries.get("tie_word_embeddings", bool, False),
    embedding_norm=entries.get("norm_first", bool, True),
  )
  return config, entries.get("vocab_size", int)


def _inner_width(entries, width):
  """Width of the channel mix, by default a multiple of 32 and of width."""
  inner = entries.count("intermediate_size", None)
  if inner is not None:
    return inner
  ratio = entries.get("hidden_ratio", float, None)
  return -(-int(width * (4.0 if ratio is None else ratio)) // 32) * 32


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  paths = _decoder.frame(EMBEDDING, "model.norm.weight")
  norms = {
    "embedding_norm": f"{LAYERS}.0.pre_norm",
    "stack/final_norm": "model.norm",
  }
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    norms[f"{ours}/norm"] = f"{theirs}.attn_norm"
    norms[f"{ours}/feedforward_norm"] = f"{theirs}.ffn_norm"
    paths |= _decoder.renamed(f"{ours}/mixer", f"{theirs}.attn", _MIXER)
    paths |= _decoder.renamed(
      f"{ours}/feedforward", f"{theirs}.ffn", _CHANNEL_MIX
    )
  return paths | rwkv_family.layer_norms(norms)
