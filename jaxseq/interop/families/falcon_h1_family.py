"""Falcon-H1: `FalconH1ForCausalLM` (arXiv:2507.22448).

Attention and Mamba-2 beside each other in every layer, with gated
feed-forwards and multipliers of what most matrices give.
"""

import numpy as np

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_layers

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  _decoder.check_silu(entries)
  epsilon = entries.epsilon("rms_norm_eps", 1e-5)
  bias = entries.get("attention_bias", bool, False)
  attention = _decoder.attention_options(entries, 32, 8)
  # The class turns all channels, whatever part is said.
  attention |= _decoder.rotary_options(entries) | {"rotary_fraction": 1.0}
  attention |= {"qkv_bias": bias, "output_bias": bias}
  channels = entries.contents.get("mamba_d_ssm", 1024)
  if channels is not None:
    channels = entries.count("mamba_d_ssm", 1024)
  mamba = _mamba_layers.mamba2_options(entries, epsilon, channels)
  mamba["out_bias"] = entries.get("projectors_bias", bool, False)
  ahead = entries.get("mamba_norm_before_gate", bool, True)
  if not entries.get("mamba_rms_norm", bool, False):
    mamba["norm"] = "none"
  elif ahead:
    mamba["norm"] = "before_gate"
  stack = {
    "mixer": "attention",
    "mixer_options": attention,
    "parallel": {"mamba2": mamba},
    "d_model": entries.size("hidden_size"),
    "num_layers": entries.get("num_hidden_layers", int),
    "norm_epsilon": epsilon,
    "feedforward": "swiglu",
    "feedforward_width": entries.size("intermediate_size", 14336),
    "feedforward_options": {"bias": entries.get("mlp_bias", bool, False)},
  }
  config = _decoder.network(
    entries,
    stack,
    tie=entries.get("tie_word_embeddings", bool, False),
    embedding_scale=entries.get("embedding_multiplier", float, 1.0),
    logit_scale=entries.get("lm_head_multiplier", float, 1.0),
  )
  return config, entries.get("vocab_size", int)


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  paths = _decoder.frame(EMBEDDING, "model.final_layernorm.weight")
  (mamba,) = config.stack.parallel_mixers
  factors = _factors(entries, mamba)
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    paths |= _decoder.norms(ours, theirs, "input_layernorm", "pre_ff_layernorm")
    layer = _decoder.gated("feedforward", f"{theirs}.feed_forward")
    layer |= _decoder.attention("mixer", f"{theirs}.self_attn")
    layer |= _decoder.renamed(
      "mixer_1", f"{theirs}.mamba", _mamba_layers.MAMBA2
    )
    for path, place in layer.items():
      factor = factors.get(path, 1.0)
      paths[f"{ours}/{path}"] = _placement.scaled(place, factor)
  return paths


def _factors(entries, mamba):
  """Returns what parameters are multiplied by, by their paths in a layer."""

  def get(name):
    return entries.get(f"{name}_multiplier", float, 1.0)

  gate, down = entries.numbers("mlp_multipliers", 2)
  states = mamba.ngroups * mamba.d_state
  parts = np.repeat(
    entries.numbers("ssm_multipliers", 5),
    (mamba.d_inner, mamba.d_inner, states, states, mamba.heads),
  )
  seen, key = get("attention_in"), get("key")
  return {
    "mixer/W_q": seen,
    "mixer/W_k": seen * key,
    "mixer/W_k_bias": key,
    "mixer/W_v": seen,
    "mixer/W_o": get("attention_out"),
    "mixer/W_o_bias": get("attention_out"),
    "mixer_1/in_proj": get("ssm_in") * parts,
    "mixer_1/in_proj_bias": parts,
    "mixer_1/out_proj": get("ssm_out"),
    "mixer_1/out_proj_bias": get("ssm_out"),
    "feedforward/in/kernel": gate,
    "feedforward/in/bias": gate,
    "feedforward/out/kernel": down,
    "feedforward/out/bias": down,
  }
