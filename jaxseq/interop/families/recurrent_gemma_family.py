"""RecurrentGemma: `RecurrentGemmaForCausalLM` (arXiv:2404.07839).

Griffin (arXiv:2402.19427): two layers of the recurrent block with RG-LRU, then
one of attention to a window. Norms multiply by 1 + w, embeddings are scaled by
the root of their width, and logits are bounded.
"""

import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"

_KINDS = {"recurrent": "rglru", "attention": "attention"}


_RECURRENT = {
  **{f"W_{x}": (f"linear_{x}.weight", _placement.linear) for x in "xy"},
  **{f"b_{x}": (f"linear_{x}.bias", _placement.same) for x in "xy"},
  "W_o": ("linear_out.weight", _placement.linear),
  "b_o": ("linear_out.bias", _placement.same),
  "conv_weight": ("conv_1d.weight", _placement.conv),
  "conv_bias": ("conv_1d.bias", _placement.same),
  "W_i": ("rg_lru.input_gate_weight", _placement.same),
  "W_r": ("rg_lru.recurrent_gate_weight", _placement.same),
  "Lambda": ("rg_lru.recurrent_param", _placement.same),
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  entries.choice(
    "hidden_activation", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh"
  )
  epsilon = entries.epsilon("rms_norm_eps", 1e-6)
  width = entries.count("hidden_size", 2560)
  heads = entries.count("num_attention_heads", 10)
  # Without what the file may say of it: it is decided by the other two.
  by_width = entries.replaced(head_dim=None)
  window = entries.get("attention_window_size", int, 2048)
  if window < 2:
    raise entries.error("attention_window_size", window, "at least 2")
  # There the element itself is one of them.
  options = _decoder.attention_options(by_width, 10, window=window - 1)
  attends = {
    "mixer": "attention",
    "mixer_options": {
      **options,
      **_decoder.rotary_options(entries, 0.5),
      "qkv_bias": entries.get("attention_bias", bool, False),
      "output_bias": True,
    },
  }
  kinds = _kinds(entries)
  stack = {
    "mixer": "rglru",
    "mixer_options": {
      "d_hidden": entries.count("lru_width", None) or width,
      "heads": heads,
      "d_conv": _taps(entries),
    },
    "d_model": width,
    "num_layers": len(kinds),
    "norm_epsilon": epsilon,
    "feedforward": "geglu",
    # There it is the width of both halves together.
    "feedforward_width": entries.size("intermediate_size", 7680, times=2) // 2,
    "feedforward_options": {"bias": True},
    "layers": tuple(attends if kind == "attention" else {} for kind in kinds),
  }
  config = _decoder.network(
    entries,
    stack,
    tie=entries.get("tie_word_embeddings", bool, True),
    # The factor is rounded so there, whatever it meets.
    embedding_scale=float(np.asarray(width**0.5, jnp.bfloat16)),
    logit_cap=entries.epsilon("logits_soft_cap", 30.0),
  )
  return config, entries.get("vocab_size", int)


def _kinds(entries):
  """Mixers of the layers, which take those of a list in turn."""
  said = entries.contents.get("block_types")
  said = ["recurrent", "recurrent", "attention"] if said is None else said
  if not isinstance(said, list) or not said:
    raise entries.error("block_types", said, "a list of kinds of layers")
  count = entries.get("num_hidden_layers", int)
  turns = [said[i % len(said)] for i in range(count)]
  return entries.replaced(block_types=turns).kinds("block_types", _KINDS)


def _taps(entries):
  width = entries.taps("conv1d_width", 4)
  if width < 2:
    raise entries.error("conv1d_width", width, "at least 2")
  return width


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  paths = _decoder.frame(EMBEDDING, "")
  paths["stack/final_norm/scale"] = _placement.centered(
    "model.final_norm.weight"
  )
  for i in range(config.stack.num_layers):
    layer = config.stack.every_layer[i]
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    for name, tensor in (
      ("norm", "temporal_pre_norm"),
      ("feedforward_norm", "channel_pre_norm"),
    ):
      paths[f"{ours}/{name}/scale"] = _placement.centered(
        f"{theirs}.{tensor}.weight"
      )
    module = f"{ours}/mixer", f"{theirs}.temporal_block"
    mixer = layer.mixer_config
    if layer.mixer == "attention":
      paths |= _decoder.attention(*module)
    else:
      paths |= _decoder.renamed(*module, _RECURRENT)
      for name, tensor in (("i", "input_gate"), ("r", "recurrent_gate")):
        paths[f"{ours}/mixer/b_{name}"] = _by_head(
          f"{theirs}.temporal_block.rg_lru.{tensor}_bias", mixer.heads
        )
    paths |= _decoder.gated(f"{ours}/feedforward", f"{theirs}.mlp_block")
  return paths


def _by_head(name, heads):
  """A vector for each head, for a parameter with all of them in one."""
  return _placement.Place(
    (name,), lambda x: (x.reshape(heads, -1),), lambda x: np.reshape(x, -1)
  )
