"""Sizes in `config.json`, bounded by the tensors that are there.

A network is built from the sizes, at least its shapes: what a small file asks
for in vain is refused before.
"""

from collections.abc import Mapping
import re
from typing import Any

from jaxseq import _validate

# Twenty times those of the largest models of this kind; each takes time to
# build.
_MOST_LAYERS = 1000
_LAYER = re.compile(r"backbone\.layers\.([0-9]{1,9})\..+")
_SIZES = (
  *("hidden_size", "expand", "state_size", "time_step_rank"),
  *("head_dim", "num_heads", "n_groups"),
)


def check(
  entries: Mapping[str, Any],
  shapes: Mapping[str, tuple[int, ...]],
  where: str,
) -> None:
  """Checks that a network of these sizes can have these tensors.

  Args:
    entries: of config.json.
    shapes: of the tensors, by their names.
    where: config.json's place, for messages.

  Raises:
    ValueError: naming the entry, and what the tensors allow.
  """
  embedding = shapes.get("backbone.embeddings.weight", ())
  if len(embedding) != 2 or 0 in embedding:
    raise ValueError(
      f"{where}: the weights beside it hold no backbone.embeddings.weight of "
      "two axes."
    )
  layers = {
    match[1] for name in shapes if (match := _LAYER.fullmatch(name)) is not None
  }
  exact = {
    "vocab_size": (embedding[0], "rows of the embedding"),
    "num_hidden_layers": (len(layers), "layers with weights"),
  }
  for name, (size, what) in exact.items():
    value = entries.get(name)
    if value is not None and value != size:
      expected = f"{size}, the number of {what}"
      raise _validate.error(f"{where}: {name}", value, expected)
  if len(layers) > _MOST_LAYERS:
    expected = f"at most {_MOST_LAYERS} layers"
    raise _validate.error(f"{where}: num_hidden_layers", len(layers), expected)
  largest = max(size for shape in shapes.values() for size in (0, *shape))
  kernels = [
    shape[-1]
    for name, shape in shapes.items()
    if name.endswith(".conv1d.weight") and shape
  ]
  most = dict.fromkeys(_SIZES, largest) | {
    "conv_kernel": max(kernels, default=0)
  }
  for name, size in most.items():
    value = entries.get(name)
    if type(value) in (int, float) and not value <= size:
      expected = f"at most {size}, the size of an axis of a tensor"
      raise _validate.error(f"{where}: {name}", value, expected)
