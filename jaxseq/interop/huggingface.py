"""Directories of Mamba and Mamba-2 language models of the transformers library.

`MambaForCausalLM` and `Mamba2ForCausalLM` are a `SequenceNetwork` of tokens:
embedding, layers of RMS norm, mixer and residual, final RMS norm, and a
read-out without bias or tied to the embedding (arXiv:2312.00752,
arXiv:2405.21060). A directory holds `config.json` and `model.safetensors`, or
several files of the latter format and `model.safetensors.index.json`.

Parameters are float32, whatever the files hold, and so are activations unless
the `dtype` of the options is replaced. Bounds on Mamba-2's step sizes
(`time_step_limit`) hold when generating too; the transformers library leaves
them out there.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _json
from jaxseq import _limits
from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.interop import _bounds
from jaxseq.interop import _settings
from jaxseq.interop import _tensors
from jaxseq.interop import safetensors_file

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_EMBEDDING = "backbone.embeddings.weight"
# The name in files of the first releases.
_OLD_EMBEDDING = "backbone.embedding.weight"
_HEAD = "lm_head.weight"
_LONGEST_NAME = 255


def load(
  directory: str | os.PathLike, *, scan_layers: bool = False
) -> tuple[nn.NetworkConfig, dict[str, PyTree]]:
  """Loads a model.

  Args:
    directory: holds config.json and the weights.
    scan_layers: whether the network shall have its layers scanned: compile time
      does not grow with their number.

  Returns:
    The options of a `SequenceNetwork`, and its variables, float32. See
    `make_network` for the network itself.

  Raises:
    ValueError: if the directory has no such files, they lead out of it, the
      model is of another type or has an option that the network has not, its
      sizes are not those of the tensors, or tensors are missing, unexpected or
      misshapen.
  """
  directory = pathlib.Path(directory)
  path = directory / _CONFIG
  entries = _read_json(path)
  _settings.check_kind(entries, str(path))
  tensors = _read_tensors(directory)
  if _OLD_EMBEDDING in tensors:
    tensors.setdefault(_EMBEDDING, tensors.pop(_OLD_EMBEDDING))
  shapes = {name: tensor.shape for name, tensor in tensors.items()}
  _bounds.check(entries, shapes, str(path))
  config, vocab_size = _settings.from_json(entries, str(path))
  if config.tie and _HEAD in tensors:
    # A second copy of the embedding.
    head = tensors.pop(_HEAD)
    if not np.array_equal(head, tensors.get(_EMBEDDING)):
      raise ValueError(
        f"{directory}: {_HEAD}: got another than {_EMBEDDING}, expected the "
        "same, as config.json ties them."
      )
  params = _tensors.from_torch(config, vocab_size, tensors, str(directory))
  if scan_layers:
    config = _scanned(config, True)
    params = {**params, "stack": _stack_layers(params["stack"])}
  return config, {"params": params}


def save(
  directory: str | os.PathLike,
  config: nn.NetworkConfig,
  variables: Mapping[str, PyTree],
  *,
  dtype: str = "float32",
  entries: Mapping[str, Any] | None = None,
) -> None:
  """Writes a model so that `load` and the transformers library can read it.

  Args:
    directory: it is made if absent; files of the same names are replaced.
    config: options of a `SequenceNetwork` with mixer "mamba" or "mamba2", RMS
      norms in front of the mixers and nothing behind them.
    variables: its variables.
    dtype: dtype of the weights in the file: "float32", "bfloat16" or "float16".
    entries: more entries of config.json, such as eos_token_id.

  Raises:
    ValueError: if the transformers library has no such network, the variables
      are not those of the network, or an entry is there already.
  """
  _validate.choice("dtype", dtype, ("float32", "bfloat16", "float16"))
  params = variables["params"]
  vocab_size = _vocab_size(variables)
  contents = _settings.to_json(config, vocab_size)
  for name, value in (entries or {}).items():
    if contents.get(name) is not None:
      raise ValueError(
        f"entries: got {name} = {value!r}, expected no entry that the network "
        "itself decides."
      )
    contents[name] = value
  contents["dtype"] = dtype
  if config.stack.scan_layers:
    config = _scanned(config, False)
    count = config.stack.num_layers
    params = {**params, "stack": _split_layers(params, count)}
  tensors = {
    name: tensor.astype(jnp.dtype(dtype))
    for name, tensor in _tensors.to_torch(config, vocab_size, params).items()
  }
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  # The other library wants to know whose layout it is.
  safetensors_file.write(directory / _WEIGHTS, tensors, {"format": "pt"})
  text = json.dumps(contents, indent=2, sort_keys=True)
  (directory / _CONFIG).write_text(text + "\n")


def make_network(
  config: nn.NetworkConfig, variables: Mapping[str, PyTree]
) -> nn.SequenceNetwork:
  """Makes the network of tokens that options and variables belong to.

  Args:
    config: from `load`.
    variables: from `load`.

  Returns:
    The network, with as many tokens as the embedding has rows.

  Raises:
    ValueError: if there is no embedding among the variables.
  """
  vocab_size = _vocab_size(variables)
  return nn.SequenceNetwork(config, vocab_size, vocab_size)


def _vocab_size(variables):
  try:
    return jnp.shape(variables["params"]["embed"]["embedding"])[0]
  except (KeyError, TypeError) as error:
    raise ValueError(
      "variables: got none, expected those of a network of tokens, with "
      "params/embed/embedding."
    ) from error


def _read_json(path):
  if not path.is_file():
    got = f"got no {path.name}, expected a directory with one."
    raise ValueError(f"{path.parent}: {got}")
  try:
    # The other library writes infinities as they are.
    content = _own(path).read_bytes()
    contents = _json.loads(content, constants=True)
  except ValueError as error:
    raise ValueError(f"{path} is not JSON ({error}).") from error
  if not isinstance(contents, dict):
    kind = type(contents).__name__
    raise ValueError(f"{path}: got {kind}, expected a JSON object.")
  return contents


def _own(path):
  """Returns the path of a file of a model, which may not lead elsewhere."""
  root = path.parent.resolve()
  # Hugging Face's cache has links from models--*/snapshots/* to blobs.
  if root.parent.name == "snapshots":
    root = root.parents[1]
  return _limits.check_within(path, root)


def _read_tensors(directory):
  if (directory / _WEIGHTS).is_file():
    return safetensors_file.read(_own(directory / _WEIGHTS))
  if (directory / _INDEX).is_file():
    return _read_shards(directory)
  pickles = sorted(path.name for path in directory.glob("*.bin"))
  if pickles:
    raise ValueError(
      f"{directory}: got weights only as {', '.join(pickles)}, expected "
      f"{_WEIGHTS}: pickles are not read because they can run any code; "
      "convert them with the transformers library's save_pretrained."
    )
  raise ValueError(
    f"{directory}: got no weights, expected {_WEIGHTS} or {_INDEX}."
  )


def _read_shards(directory):
  index = directory / _INDEX
  files = _read_json(index).get("weight_map")
  if not isinstance(files, dict) or not all(
    isinstance(name, str)
    and pathlib.PurePath(name).name == name
    and len(os.fsencode(name)) <= _LONGEST_NAME
    and "\0" not in name
    for name in files.values()
  ):
    raise ValueError(
      f"{index}: got {str(files)[:80]}, expected a weight_map from tensors to "
      "files beside it."
    )
  tensors = {}
  for name in sorted(set(files.values())):
    if not (directory / name).is_file():
      raise ValueError(f"{index} names {name}, which is not in {directory}.")
    for tensor, value in safetensors_file.read(_own(directory / name)).items():
      if files.get(tensor) != name:
        raise ValueError(
          f"{directory / name} holds {tensor}, which {index} does not say."
        )
      tensors[tensor] = value
  lost = sorted(files.keys() - tensors.keys())
  if lost:
    raise ValueError(f"{directory / files[lost[0]]} lacks {lost[0]}.")
  return tensors


def _scanned(config: nn.NetworkConfig, scan_layers: bool) -> nn.NetworkConfig:
  """Returns the configuration with its layers scanned, or not."""
  stack = dataclasses.replace(config.stack, scan_layers=scan_layers)
  return dataclasses.replace(config, stack=stack)


def _stack_layers(stack):
  count = sum(name.startswith("layers_") for name in stack)
  rest = dict(stack)
  layers = [rest.pop(f"layers_{i}") for i in range(count)]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
  return {**rest, "layers": stacked}


def _split_layers(params, num_layers):
  rest = dict(params.get("stack", {}))
  layers = rest.pop("layers", {})
  for leaf in jax.tree.leaves(layers):
    if jnp.shape(leaf)[:1] != (num_layers,):
      raise ValueError(
        f"variables: got a parameter of shape {jnp.shape(leaf)}, expected "
        f"{num_layers} scanned layers, as the config says."
      )
  return rest | {
    f"layers_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], layers)
    for i in range(num_layers)
  }
