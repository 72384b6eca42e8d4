"""Zamba-2: `Zamba2ForCausalLM` (arXiv:2411.15242).

Mamba-2 layers; some of them use, in turn, one of a few blocks of attention and
feed-forward (`jaxseq.nn.zamba_block`).
"""

from collections.abc import Collection
from collections.abc import Mapping
import math
import re

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_layers

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"

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
_BLOCK = {
  "norm": ("input_layernorm.weight", _placement.same),
  "feedforward_norm": ("pre_ff_layernorm.weight", _placement.same),
  "W_q": ("self_attn.q_proj.weight", _placement.linear),
  "W_k": ("self_attn.k_proj.weight", _placement.linear),
  "W_v": ("self_attn.v_proj.weight", _placement.linear),
  "W_o": ("self_attn.o_proj.weight", _placement.linear),
  "W_in": ("feed_forward.gate_up_proj.weight", _placement.linear),
  "W_in_bias": ("feed_forward.gate_up_proj.bias", _placement.same),
  "W_out": ("feed_forward.down_proj.weight", _placement.linear),
  "W_out_bias": ("feed_forward.down_proj.bias", _placement.same),
}
_ADAPTERS = {
  "W_in": "feed_forward.gate_up_proj_adapter_list",
  "W_q": "self_attn.linear_q_adapter_list",
  "W_k": "self_attn.linear_k_adapter_list",
  "W_v": "self_attn.linear_v_adapter_list",
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  kinds = entries.kinds(_NAME, _KINDS)
  d_model = entries.size("hidden_size", 2560)
  epsilon = entries.epsilon("rms_norm_eps", 1e-5)
  stack = {
    "mixer": "mamba2",
    "mixer_options": _mamba(entries, d_model),
    "d_model": d_model,
    "num_layers": len(kinds),
    "norm_epsilon": epsilon,
  }
  hybrids = _hybrids(kinds)
  if hybrids:
    stack["shared_block"] = {
      "layers": hybrids,
      "eps": epsilon,
      **_block(entries, d_model, len(hybrids)),
    }
  config = _decoder.network(entries, stack, tie=_ties(entries))
  return config, entries.get("vocab_size", int)


def _ties(entries):
  """True if weights are tied, the embedding's and the blocks' alike."""
  return entries.get("tie_word_embeddings", bool, True)


def _hybrids(kinds):
  return tuple(i for i, kind in enumerate(kinds) if kind == "hybrid")


def _mamba(entries, d_model):
  """Options of Mamba-2."""
  options = _mamba_layers.read_options(entries, _OPTIONS)
  heads = entries.count("n_mamba_heads", 8)
  if options["expand"] * d_model % heads:
    expected = f"a divisor of {options['expand'] * d_model}, the channels"
    raise entries.error("n_mamba_heads", heads, expected)
  return options | {
    "headdim": max(options["expand"] * d_model // heads, 1),
    # The class reads no other bound, and adds this in the norm.
    "dt_limit": (options["dt_min"], math.inf),
    "norm_eps": 1e-5,
    "norm_groups": options["ngroups"],
  }


def _block(entries, d_model, uses):
  """Options of the shared blocks."""
  entries.choice("hidden_act", ("gelu",), "gelu")
  options = _decoder.attention_options(entries, 32)
  # The class has no other width of heads.
  options["d_head"] = max(2 * d_model // options["heads"], 1)
  if entries.get("use_mem_rope", bool, False):
    base, _ = entries.rotary()
    options |= {"positions": "rotary", "rotary_base": base}
  width = entries.size("intermediate_size", None)
  return options | {
    "blocks": _blocks(entries, uses),
    "width": width or 4 * d_model,
    "rank": entries.count("adapter_rank", 128),
    "attention_rank": entries.get("use_shared_attention_adapter", bool, False),
    "bias": entries.get("add_bias_linear", bool, False),
  }


def _blocks(entries, uses):
  """Number of blocks that are not tied to others."""
  blocks = entries.count("num_mem_blocks", 1)
  return min(blocks, uses) if _ties(entries) else uses


def unused(entries: _entries.Entries) -> Collection[str]:
  """Returns names of adapters of other layers, in blocks that are not tied."""
  if _ties(entries):
    return ()
  hybrids = _hybrids(entries.kinds(_NAME, _KINDS))
  names = "|".join(map(re.escape, _ADAPTERS.values()))
  tensor_names = []
  for turn, i in enumerate(hybrids):
    prefix = re.escape(f"{LAYERS}.{i}.shared_transformer.")
    pattern = re.compile(rf"{prefix}(?:{names})\.([0-9]+)\..+")
    for name in entries.tensors:
      match = pattern.fullmatch(name)
      if match is not None and match[1] != str(turn):
        tensor_names.append(name)
  return tensor_names


def copies(entries: _entries.Entries) -> Mapping[str, str]:
  """Returns names of a block's tensors at later layers, and at the first."""
  hybrids = _hybrids(entries.kinds(_NAME, _KINDS))
  blocks = _blocks(entries, len(hybrids))
  first = dict(enumerate(hybrids[:blocks]))
  prefixes = {
    f"{LAYERS}.{i}.shared_transformer.": (
      f"{LAYERS}.{first[n % blocks]}.shared_transformer."
    )
    for n, i in enumerate(hybrids)
    if n >= blocks
  }
  return {
    name: original + name.removeprefix(prefix)
    for prefix, original in prefixes.items()
    for name in entries.tensors
    if name.startswith(prefix)
  }


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  paths = _decoder.frame(EMBEDDING, "model.final_layernorm.weight")
  blocks, uses = config.stack.shared_blocks
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    if i in uses:
      theirs = f"{theirs}.mamba_decoder"
    norm = f"{theirs}.input_layernorm.weight"
    paths[f"{ours}/norm/scale"] = _placement.same(norm)
    table = _mamba_layers.MAMBA2
    paths |= _decoder.renamed(f"{ours}/mixer", f"{theirs}.mamba", table)
  for number in range(len(blocks)):
    ours = f"stack/shared_block_{number}"
    layers = [i for i, use in uses.items() if use.block == number]
    theirs = f"{LAYERS}.{layers[0]}.shared_transformer"
    paths |= _decoder.renamed(ours, theirs, _BLOCK)
    paths[f"{ours}/L"] = _placement.stacked(
      [_placement.linear(f"{LAYERS}.{i}.linear.weight") for i in layers]
    )
    # Adapters are numbered as the layers with blocks are, over all blocks.
    turns = range(number, len(uses), len(blocks))
    for name, there in _ADAPTERS.items():
      for end, half in enumerate(("down", "up")):
        paths[f"{ours}/{name}_{half}"] = _placement.stacked(
          [
            _placement.linear(f"{theirs}.{there}.{turn}.{end}.weight")
            for turn in turns
          ]
        )
  return paths
