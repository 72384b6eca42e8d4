"""Zamba-2: `Zamba2ForCausalLM` (arXiv:2411.15242).

Mamba-2 layers; some of them share, in turn, a few blocks of attention and
feed-forward (`jaxseq.nn.zamba_block`).
"""

import math
import re

from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_family

_NAME = "layers_block_type"
_KINDS = {"linear_attention": "mamba", "mamba": "mamba", "hybrid": "hybrid"}
_OPTIONS = {
  "expand": ("mamba_expand", int, 2),
  "d_conv": ("mamba_d_conv", int, 4),
  "d_state": ("mamba_d_state", int, 64),
  "ngroups": ("mamba_ngroups", int, 1),
  "dt_max": ("time_step_max", float, 0.1),
  "dt_min": ("time_step_min", float, 0.001),
  "dt_init_floor": ("time_step_floor", float, 1e-4),
  "bias": ("add_bias_linear", bool, False),
}
_BLOCK = _decoder.tensors(
  {
    **{f"W_{x}": f"self_attn.{x}_proj" for x in "qkvo"},
    "W_in": "feed_forward.gate_up_proj",
    "W_out": "feed_forward.down_proj",
  },
  {
    "norm": "input_layernorm.weight",
    "feedforward_norm": "pre_ff_layernorm.weight",
  },
)
_ADAPTERS = {
  "W_in": "feed_forward.gate_up_proj_adapter_list",
  "W_q": "self_attn.linear_q_adapter_list",
  "W_k": "self_attn.linear_k_adapter_list",
  "W_v": "self_attn.linear_v_adapter_list",
}


def _options(entries, epsilon):
  entries.choice("use_long_context", (False,), False)
  kinds = entries.kinds(_NAME, _KINDS)
  d_model = entries.size("hidden_size", 2560)
  options = {
    "mixer": "mamba2",
    "mixer_options": _mamba2(entries, d_model),
    "num_layers": len(kinds),
  }
  hybrids = _hybrids(entries)
  if hybrids:
    options["shared_block"] = {
      "layers": hybrids,
      "eps": epsilon,
      **_block(entries, d_model, len(hybrids)),
    }
  return options


def _ties(entries):
  """Returns true if the embedding's and the blocks' weights are tied."""
  return entries.flag("tie_word_embeddings", True)


def _hybrids(entries):
  """Returns the numbers of the layers with a block."""
  kinds = entries.kinds(_NAME, _KINDS)
  return tuple(i for i, kind in enumerate(kinds) if kind == "hybrid")


def _mamba2(entries, d_model):
  """Returns the options of Mamba-2."""
  options = _decoder.read_options(entries, _OPTIONS)
  heads = entries.count("n_mamba_heads", 8)
  if options["expand"] * d_model % heads:
    expected = f"a divisor of {options['expand'] * d_model}, the channels"
    raise entries.error("n_mamba_heads", heads, expected)
  return options | {
    "headdim": max(options["expand"] * d_model // heads, 1),
    # The class reads no upper bound, and has this epsilon in the norm.
    "dt_limit": (options["dt_min"], math.inf),
    "norm_eps": 1e-5,
    "norm_groups": options["ngroups"],
  }


def _block(entries, d_model, uses):
  """Returns the options of the shared blocks."""
  entries.choice("hidden_act", ("gelu",), "gelu")
  options = _decoder.attends(entries, 32)["mixer_options"]
  # The class ignores other head widths.
  options["d_head"] = max(2 * d_model // options["heads"], 1)
  if entries.flag("use_mem_rope", False):
    base, _ = entries.rotary()
    options |= {"positions": "rotary", "rotary_base": base}
  width = entries.size("intermediate_size", None)
  return options | {
    "blocks": _blocks(entries, uses),
    "width": width or 4 * d_model,
    "rank": entries.count("adapter_rank", 128),
    "attention_rank": entries.flag("use_shared_attention_adapter", False),
    "bias": entries.flag("add_bias_linear", False),
  }


def _blocks(entries, uses):
  """Returns the number of blocks that are not tied to others."""
  blocks = entries.count("num_mem_blocks", 1)
  return min(blocks, uses) if _ties(entries) else uses


def _unused(entries):
  """Returns the names of other layers' adapters, in untied blocks."""
  if _ties(entries):
    return []
  names = "|".join(map(re.escape, _ADAPTERS.values()))
  tensor_names = []
  for turn, prefix in enumerate(map(_prefix, _hybrids(entries))):
    pattern = re.compile(rf"{re.escape(prefix)}(?:{names})\.([0-9]+)\..+")
    for name in entries.tensors:
      match = pattern.fullmatch(name)
      if match is not None and match[1] != str(turn):
        tensor_names.append(name)
  return tensor_names


def _copies(entries):
  """Returns the names of blocks' tensors at later layers, and at the first."""
  prefixes = list(map(_prefix, _hybrids(entries)))
  blocks = _blocks(entries, len(prefixes))
  return {
    name: prefixes[n % blocks] + name.removeprefix(prefix)
    for n, prefix in enumerate(prefixes)
    if n >= blocks
    for name in entries.tensors
    if name.startswith(prefix)
  }


def _prefix(layer):
  """Returns the prefix of the tensor names of a layer's block."""
  return f"model.layers.{layer}.shared_transformer."


def _layer(layer):
  _, uses = layer.stack.shared_blocks
  inside = "mamba_decoder." if layer.number in uses else ""
  norm = layer.named(f"{inside}input_layernorm.weight")
  return {
    "norm/scale": _placement.same(norm),
    **layer.module(f"{inside}mamba", _mamba_family.MAMBA2),
  }


def _around(config):
  """Returns the places of the blocks."""
  paths = {}
  blocks, uses = config.stack.shared_blocks
  for number in range(len(blocks)):
    ours = f"stack/shared_block_{number}"
    layers = [i for i, use in uses.items() if use.block == number]
    theirs = _prefix(layers[0]).removesuffix(".")
    paths |= _decoder.renamed(ours, theirs, _BLOCK)
    paths[f"{ours}/L"] = _stacked([f"model.layers.{i}.linear" for i in layers])
    # Adapters are numbered like the layers with blocks, over all blocks.
    turns = range(number, len(uses), len(blocks))
    for name, module in _ADAPTERS.items():
      for end, half in enumerate(("down", "up")):
        each = [f"{theirs}.{module}.{turn}.{end}" for turn in turns]
        paths[f"{ours}/{name}_{half}"] = _stacked(each)
  return paths


def _stacked(names):
  """Returns the place of stacked linear layers."""
  return _placement.stacked(
    [_placement.linear(f"{name}.weight") for name in names]
  )


FAMILY = _decoder.Decoder(
  _options,
  _layer,
  norm="model.final_layernorm.weight",
  epsilon=("rms_norm_eps", 1e-5),
  width=2560,
  tie=True,
  activation=None,
  around=_around,
  copies=_copies,
  unused=_unused,
)
