"""Layers of the delta rule in several families, and attention between them."""

from typing import Any

from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder
from jaxseq.mixers import gated_deltanet

# Kinds of layers by their names in the files.
KINDS = {"linear_attention": "gated_deltanet", "full_attention": "attention"}


def kinds(entries: _entries.Entries) -> tuple[str, ...]:
  """Returns the mixers of the layers; by default every fourth attends."""
  if entries.contents.get("layer_types") is not None:
    return entries.kinds("layer_types", KINDS)
  interval = entries.get("full_attention_interval", int, 4)
  if interval < 1:
    raise entries.error("full_attention_interval", interval, "at least 1")
  count = entries.get("num_hidden_layers", int)
  return tuple(
    "gated_deltanet" if (i + 1) % interval else "attention"
    for i in range(count)
  )


def options(
  entries: _entries.Entries, heads: int, key_heads: int, width: int | None
) -> dict[str, Any]:
  """Returns options of mixer "gated_deltanet" by the usual entries."""
  default = _entries.MISSING if width is None else width
  return {
    "heads": entries.count("linear_num_value_heads", heads),
    "key_heads": entries.count("linear_num_key_heads", key_heads),
    "d_key": entries.count("linear_key_head_dim", default),
    "d_value": entries.count("linear_value_head_dim", default),
    "d_conv": taps(entries, "linear_conv_kernel_dim"),
  }


def taps(entries: _entries.Entries, name: str) -> int:
  """Returns the width of the convolution, 4 by default."""
  width = entries.taps(name, 4)
  if width < 2:
    raise entries.error(name, width, "at least 2")
  return width


def separate(
  config: gated_deltanet.Config,
  entries: _entries.Entries,
  ours: str,
  theirs: str,
) -> dict[str, _placement.Place]:
  """Returns the places of queries, keys and values with their own tensors."""
  convs = [f"{theirs}.{x}_conv1d.weight" for x in "qkv"]
  shapes = [entries.shape(name) for name in convs]
  sizes = [shape[0] for shape in shapes if shape]
  if len(sizes) != len(convs) or sum(sizes) != sum(config.channels):
    sizes = config.channels
  return {
    f"{ours}/W_qkv": _placement.joined(
      [_placement.linear(f"{theirs}.{x}_proj.weight") for x in "qkv"],
      config.channels,
      axis=1,
    ),
    # The library has one tensor, and saves it in equal parts, whatever the
    # numbers of channels: only together do they say which is whose.
    f"{ours}/conv_weight": _placement.joined(
      [_placement.conv(name) for name in convs], sizes, axis=1
    ),
  }


def routed(
  ours: str,
  theirs: str,
  number: int,
  names: dict[str, str],
  shared: str,
) -> dict[str, _placement.Place]:
  """Returns the places of a mixture of experts with one that all pass."""
  return {
    f"{ours}/router/kernel": _placement.linear(f"{theirs}.gate.weight"),
    **_decoder.experts(ours, f"{theirs}.experts", number, names),
    **_decoder.gated(f"{ours}/shared", f"{theirs}.{shared}"),
  }
