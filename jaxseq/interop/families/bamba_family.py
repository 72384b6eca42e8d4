"""Bamba: `BambaForCausalLM`.

Mamba-2 and, in some layers, attention whose heads rotary positions turn in
part, with gated feed-forwards; github.com/foundation-model-stack/bamba.
"""

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_layers

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  _decoder.check_silu(entries)
  epsilon = entries.epsilon("rms_norm_eps", 1e-5)
  count = entries.get("num_hidden_layers", int)
  indices = entries.contents.get("attn_layer_indices") or ()
  if not isinstance(indices, list | tuple) or not all(
    type(i) is int and 0 <= i < count for i in indices
  ):
    expected = f"a list of numbers of layers below {count}"
    raise entries.error("attn_layer_indices", indices, expected)
  attention = {}
  if indices:
    bias = entries.get("attention_bias", bool, False)
    options = _decoder.attention_options(entries, 32, 8)
    options |= _decoder.rotary_options(entries, 0.5)
    options |= {"qkv_bias": bias, "output_bias": bias}
    attention = {"mixer": "attention", "mixer_options": options}
  stack = {
    "mixer": "mamba2",
    "mixer_options": _mamba_layers.mamba2_options(entries, epsilon),
    "d_model": entries.size("hidden_size"),
    "num_layers": count,
    "norm_epsilon": epsilon,
    "feedforward": "swiglu",
    "feedforward_width": entries.size("intermediate_size", 14336),
    "feedforward_options": {"bias": entries.get("mlp_bias", bool, False)},
    "layers": tuple(attention if i in indices else {} for i in range(count)),
  }
  tie = entries.get("tie_word_embeddings", bool, False)
  config = _decoder.network(entries, stack, tie=tie)
  return config, entries.get("vocab_size", int)


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  paths = _decoder.frame(EMBEDDING, "model.final_layernorm.weight")
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    paths |= _decoder.norms(ours, theirs, "input_layernorm", "pre_ff_layernorm")
    paths |= _decoder.gated(f"{ours}/feedforward", f"{theirs}.feed_forward")
    paths |= _mamba_layers.mixer_places(config, i, theirs)
  return paths
