"""Files of models trained here, opened like transformers models.

A weight (*axes, n, m) is one module, named by its dotted path, with a torch
matrix (m, n). Leading axes, such as those of scanned layers, become one module
per index, with the index appended to the name.
"""

import os
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq.interop import _placement
from jaxseq.interop import huggingface
from jaxseq.interop import safetensors_file

_NAME = "model.safetensors"
_PARAMS = "params/"


class Opened(NamedTuple):
  """An opened model file whose tensors are read on demand."""

  places: dict[str, _placement.Place]
  tensors: dict[str, safetensors_file.Stored]
  modules: tuple[tuple[str, str], ...] = ()
  kind: str = ""


def open_any(
  model: str | os.PathLike, context: int | None
) -> Opened | huggingface.OpenedModel:
  """Opens a directory of the transformers library, or a model file."""
  path = pathlib.Path(model)
  if path.is_dir() and not (path / "config.json").is_file():
    path /= _NAME
  if path.is_dir():
    # Weight paths do not depend on the context.
    context = 1 if context is None else context
    return huggingface.open_model(path, context, quiet=True)
  places, tensors = {}, {}
  for name, stored in safetensors_file.stored(path).items():
    if name.startswith(_PARAMS) and len(stored.shape) > 1:
      tensor = name.removeprefix(_PARAMS)
      places[tensor] = _place(tensor.replace("/", "."), stored.shape)
      tensors |= _tensors(places[tensor], stored)
  return Opened(places, tensors)


def _place(name, shape):
  """Returns the matrices of a weight, stacked along its axes."""
  if len(shape) == 2:
    return _placement.linear(f"{name}.weight")
  return _placement.stacked(
    [_place(f"{name}.{i}", shape[1:]) for i in range(shape[0])]
  )


def _tensors(place: _placement.Place, stored: Any):
  """Returns the matrices of a weight by their names."""
  n, m = stored.shape[-2:]

  def read(index):
    return np.ascontiguousarray(stored.read().reshape(-1, n, m)[index].T)

  return {
    name: safetensors_file.Stored((m, n), lambda index=index: read(index))
    for index, name in enumerate(place.names)
  }
