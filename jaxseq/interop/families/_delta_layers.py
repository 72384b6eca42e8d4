"""Delta-rule layers of several families."""

from typing import Any

from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop._entries import Entries
from jaxseq.interop.families import _decoder

_KINDS = {"linear_attention": "gated_deltanet", "full_attention": "attention"}


def kinds(entries: Entries) -> tuple[str, ...]:
  """Returns the mixers of the layers; by default every fourth is attention."""
  if entries.contents.get("layer_types") is not None:
    return entries.kinds("layer_types", _KINDS)
  interval = entries.get("full_attention_interval", int, 4)
  if interval < 1:
    raise entries.error("full_attention_interval", interval, "at least 1")
  return tuple(
    "gated_deltanet" if (i + 1) % interval else "attention"
    for i in range(entries.layers)
  )


def options(
  entries: Entries, heads: int, key_heads: int, width: int | None
) -> dict[str, Any]:
  """Returns the options of mixer "gated_deltanet" from the usual entries."""
  default = _entries.MISSING if width is None else width
  return {
    "heads": entries.count("linear_num_value_heads", heads),
    "key_heads": entries.count("linear_num_key_heads", key_heads),
    "d_key": entries.count("linear_key_head_dim", default),
    "d_value": entries.count("linear_value_head_dim", default),
    "d_conv": entries.taps("linear_conv_kernel_dim", 4, 2),
  }


def separate(layer: _decoder.Layer, theirs: str) -> _decoder.Places:
  """Returns the places of queries, keys and values with separate tensors."""
  channels = layer.mixer.channels
  module = layer.named(theirs)
  convs = [f"{module}.{x}_conv1d.weight" for x in "qkv"]
  shapes = [layer.entries.shape(name) for name in convs]
  sizes = [shape[0] for shape in shapes if shape]
  if len(sizes) != len(convs) or sum(sizes) != sum(channels):
    sizes = channels
  projections = [f"{module}.{x}_proj.weight" for x in "qkv"]
  return {
    "mixer/W_qkv": _placement.joined(
      list(map(_placement.linear, projections)), channels, axis=1
    ),
    # The library has one tensor, and saves it in equal parts, whatever the
    # numbers of channels: only the joined tensor has the right channels.
    "mixer/conv_weight": _placement.joined(
      list(map(_placement.conv, convs)), sizes, axis=1
    ),
  }
