"""Falcon-H1: `FalconH1ForCausalLM` (arXiv:2507.22448).

Attention and Mamba-2 in parallel in every layer, with gated feed-forwards and
multipliers of most matrices' outputs.
"""

import numpy as np

from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_family


def _options(entries, epsilon):
  # The class rotates all channels, whatever fraction is given.
  attention = _decoder.attends(
    entries, 32, 8, rotary=1.0, bias="attention_bias", rotary_fraction=1.0
  )
  channels = entries.contents.get("mamba_d_ssm", 1024)
  if channels is not None:
    channels = entries.count("mamba_d_ssm", 1024)
  mamba = _mamba_family.hybrid_options(entries, epsilon, channels)
  mamba["out_bias"] = entries.flag("projectors_bias", False)
  ahead = entries.flag("mamba_norm_before_gate", True)
  if not entries.flag("mamba_rms_norm", False):
    mamba["norm"] = "none"
  elif ahead:
    mamba["norm"] = "before_gate"
  return {
    **attention,
    "parallel": {"mamba2": mamba},
    **_decoder.swiglu(entries, 14336, "mlp_bias"),
    "embedding_scale": entries.get("embedding_multiplier", float, 1.0),
    "logit_scale": entries.get("lm_head_multiplier", float, 1.0),
  }


def _layer(layer):
  paths = {
    **layer.norms("input_layernorm", "pre_ff_layernorm"),
    **layer.dense("feed_forward"),
    **layer.attention(),
    **layer.module("mamba", _mamba_family.MAMBA2, "mixer_1"),
  }
  for path, factor in _factors(layer.entries, *layer.config.parallel_mixers):
    paths[path] = _placement.scaled(paths[path], factor)
  return paths


def _factors(entries, mamba):
  """Yields paths in a layer, and the factors of their parameters."""

  def get(name):
    return entries.get(f"{name}_multiplier", float, 1.0)

  gate, down = entries.numbers("mlp_multipliers", 2)
  states = mamba.ngroups * mamba.d_state
  parts = np.repeat(
    entries.numbers("ssm_multipliers", 5),
    (mamba.d_inner, mamba.d_inner, states, states, mamba.heads),
  )
  seen, key = get("attention_in"), get("key")
  yield from {
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
  }.items()


FAMILY = _decoder.Decoder(
  _options,
  _layer,
  norm="model.final_layernorm.weight",
  epsilon=("rms_norm_eps", 1e-5),
)
