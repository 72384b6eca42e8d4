"""Mamba, Falcon-Mamba and Mamba-2, and their layers in other families.

`MambaForCausalLM` (arXiv:2312.00752), `FalconMambaForCausalLM`, whose step
sizes, B and C are normalized without weights (arXiv:2410.05355), and
`Mamba2ForCausalLM` (arXiv:2405.21060).
"""

import functools
import math
from typing import Any

from jaxseq import validate
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop._entries import Entries
from jaxseq.interop.families import _decoder

_EMBEDDING = "backbone.embeddings.weight"
_LINEAR = {"in_proj": "in_proj", "out_proj": "out_proj"}
_SAME = {"A_log": "A_log", "D": "D"}
# Tensors of the two mixers.
MAMBA = _decoder.tensors(
  {**_LINEAR, "x_proj": "x_proj", "dt_proj": "dt_proj"},
  {**_SAME, "dt_bias": "dt_proj.bias"},
  "conv1d",
)
MAMBA2 = _decoder.tensors(
  _LINEAR,
  {**_SAME, "dt_bias": "dt_bias", "norm_scale": "norm.weight"},
  "conv1d",
)

_OPTIONS = {
  "expand": ("expand", int, 2),
  "d_conv": ("conv_kernel", int, 4),
  "dt_min": ("time_step_min", float, 0.001),
  "dt_max": ("time_step_max", float, 0.1),
  "dt_init_floor": ("time_step_floor", float, 1e-4),
  "conv_bias": ("use_conv_bias", bool, True),
  "bias": ("use_bias", bool, False),
}
_MAMBA_OPTIONS = _OPTIONS | {
  "d_state": ("state_size", int, 16),
  "dt_init": ("time_step_init_scheme", str, "random"),
  "dt_scale": ("time_step_scale", float, 1.0),
}
_MAMBA2_OPTIONS = _OPTIONS | {
  "d_state": ("state_size", int, 128),
  "headdim": ("head_dim", int, _entries.MISSING),
  "ngroups": ("n_groups", int, 8),
}
# Options of Mamba-2 in hybrid models.
_HYBRID = {
  "expand": ("mamba_expand", int, 2),
  "d_conv": ("mamba_d_conv", int, 4),
  "d_state": ("mamba_d_state", int, 256),
  "ngroups": ("mamba_n_groups", int, 1),
  "conv_bias": ("mamba_conv_bias", bool, True),
  "bias": ("mamba_proj_bias", bool, False),
}


def hybrid_options(
  entries: Entries, epsilon: float, channels: int | None = None
) -> dict[str, Any]:
  """Returns the options of Mamba-2 in hybrid models."""
  options = _decoder.read_options(entries, _HYBRID)
  inner = channels or options["expand"] * entries.size("hidden_size")
  heads = entries.count("mamba_n_heads", 128)
  width = max(inner // heads, 1)
  if entries.contents.get("mamba_d_head", "auto") != "auto":
    width = entries.count("mamba_d_head")
  if heads * width != inner:
    raise ValueError(
      f"{entries.where}: mamba_n_heads * mamba_d_head: got {heads} * {width}, "
      f"expected {inner}, the channels of Mamba-2."
    )
  return options | {
    "channels": channels,
    "headdim": width,
    "dt_limit": entries.bounds("time_step_limit"),
    "norm_eps": epsilon,
    "norm_groups": options["ngroups"],
  }


def mixer(layer: _decoder.Layer) -> _decoder.Places:
  """Returns the places of a hybrid's mixer, Mamba-2 or attention."""
  if layer.config.mixer == "mamba2":
    return layer.module("mamba", MAMBA2)
  return layer.attention()


def _alone(entries, kind, options):
  """Returns the options of a network of equal layers."""
  residual = entries.flag("residual_in_fp32", True)
  return {"mixer": kind, "mixer_options": options, "residual_float32": residual}


def _mamba(entries, epsilon, norm="none"):
  """Returns the options of Mamba; Falcon-Mamba's epsilon is an entry."""
  del epsilon
  options = _decoder.read_options(entries, _MAMBA_OPTIONS)
  if entries.contents.get("time_step_rank", "auto") != "auto":
    options["dt_rank"] = entries.size("time_step_rank")
  if norm != "none":
    options |= {
      "norm": norm,
      "norm_eps": entries.epsilon("mixer_rms_eps", 1e-6),
    }
  return _alone(entries, "mamba", options)


def _mamba2(entries, epsilon):
  """Returns the options of Mamba-2."""
  options = _decoder.read_options(entries, _MAMBA2_OPTIONS)
  heads, d_model = entries.size("num_heads"), entries.size("hidden_size")
  if heads * options["headdim"] != options["expand"] * d_model:
    raise ValueError(
      f"{entries.where}: num_heads * head_dim: got {heads} * "
      f"{options['headdim']} and {options['expand']} * {d_model}, expected "
      "expand * hidden_size."
    )
  options |= {
    "dt_limit": entries.bounds("time_step_limit"),
    "norm_eps": epsilon,
    "norm_groups": options["ngroups"],
  }
  return _alone(entries, "mamba2", options)


def _saved(config, vocab_size, table, name):
  """Returns the common entries, and the entries of a table of options."""
  _decoder.check_saved(config)
  stack = config.stack
  (mixer,) = stack.mixers
  return {
    "model_type": stack.mixer,
    "architectures": [f"{name}ForCausalLM"],
    "vocab_size": vocab_size,
    "hidden_size": stack.d_model,
    "num_hidden_layers": stack.num_layers,
    "layer_norm_epsilon": stack.norm_epsilon,
    "hidden_act": "silu",
    "residual_in_fp32": stack.residual_float32,
    "tie_word_embeddings": config.tie,
    # The defaults may exceed a small vocabulary.
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    **{name: getattr(mixer, option) for option, (name, *_) in table.items()},
  }


def _check_mixer(**pairs):
  """Checks options of a mixer, each a value and the required value."""
  for name, (value, needed) in pairs.items():
    if value != needed:
      expected = f"{needed!r} to be saved in this format"
      raise validate.error(f"the mixer's {name}", value, expected)


def _save_mamba(config, vocab_size, norm="none"):
  """Returns the entries of Mamba, or of Falcon-Mamba with its norm."""
  name = "Mamba" if norm == "none" else "FalconMamba"
  entries = _saved(config, vocab_size, _MAMBA_OPTIONS, name)
  (mixer,) = config.stack.mixers
  _check_mixer(norm=(mixer.norm, norm))
  entries |= {"time_step_rank": mixer.rank, "intermediate_size": mixer.d_inner}
  if norm != "none":
    entries |= {"model_type": "falcon_mamba", "mixer_rms_eps": mixer.norm_eps}
  return entries


def _save_mamba2(config, vocab_size):
  """Returns the entries of Mamba-2."""
  entries = _saved(config, vocab_size, _MAMBA2_OPTIONS, "Mamba2")
  stack = config.stack
  (mixer,) = stack.mixers
  entries |= {"head_dim": mixer.head_width, "num_heads": mixer.heads}
  if mixer.dt_limit != (0.0, math.inf):
    entries["time_step_limit"] = list(mixer.dt_limit)
  _check_mixer(
    norm_eps=(mixer.norm_eps, stack.norm_epsilon),
    norm_groups=(mixer.norm_groups, mixer.ngroups),
    norm=(mixer.norm, "after_gate"),
    channels=(mixer.d_inner, mixer.expand * stack.d_model),
    out_bias=(mixer.biases_out, mixer.bias),
  )
  return entries


def _layer(table):
  def places(layer):
    norm = _placement.same(layer.named("norm.weight"))
    return {"norm/scale": norm, **layer.module("mixer", table)}

  return places


def _family(options, table, tie, to_json):
  """Returns a family of equal layers."""
  return _decoder.Decoder(
    options,
    _layer(table),
    EMBEDDING=_EMBEDDING,
    LAYERS="backbone.layers",
    # The name in files of the first releases.
    OLD_NAMES={"backbone.embedding.weight": _EMBEDDING},
    norm="backbone.norm_f.weight",
    epsilon=("layer_norm_epsilon", 1e-5),
    tie=tie,
    to_json=to_json,
  )


MAMBA_FAMILY = _family(_mamba, MAMBA, True, _save_mamba)
FALCON_MAMBA_FAMILY = _family(
  functools.partial(_mamba, norm="plain"),
  MAMBA,
  True,
  functools.partial(_save_mamba, norm="plain"),
)
MAMBA2_FAMILY = _family(_mamba2, MAMBA2, False, _save_mamba2)
