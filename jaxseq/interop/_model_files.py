"""Files of a model's directory: `config.json` and weights in safetensors."""

import json
import pathlib
import shutil
from typing import Any

from jaxseq import _json
from jaxseq import limits
from jaxseq.interop import safetensors_file
from jaxseq.training import files

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_LONGEST_NAME = 255
# Files next to a model's weights that convert texts to tokens and back.
_BESIDE = (
  "tokenizer*",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.*",
  "merges.txt",
  "chat_template.*",
  "generation_config.json",
)


def read_json(path: pathlib.Path, *, constants: bool = True) -> dict[str, Any]:
  """Reads the object in a JSON file of a model.

  Args:
    path: the file.
    constants: whether infinities are allowed, which the transformers library
      writes without quotes.

  Raises:
    ValueError: if there is no such file, or it contains no object.
  """
  if not path.is_file():
    got = f"got no {path.name}, expected a directory with one."
    raise ValueError(f"{path.parent}: {got}")
  try:
    content = limits.read_bytes(_own(path), limits.JSON)
    contents = _json.loads(content, constants=constants)
  except ValueError as error:
    raise ValueError(f"{path} is not JSON ({error}).") from error
  if not isinstance(contents, dict):
    kind = type(contents).__name__
    raise ValueError(f"{path}: got {kind}, expected a JSON object.")
  return contents


def write_json(path: pathlib.Path, contents: dict[str, Any]) -> None:
  """Writes a JSON file of a model, replacing an existing one atomically."""
  # Infinities are written without quotes, which the other library reads.
  text = json.dumps(contents, indent=2, sort_keys=True)
  files.write_text(path, text + "\n")


def copy_beside(source: pathlib.Path, directory: pathlib.Path) -> None:
  """Copies a model's tokenizer and generation config.

  Args:
    source: directory of the model.
    directory: directory to copy to.
  """
  for pattern in _BESIDE:
    for path in source.glob(pattern):
      place = directory / path.name
      if path.is_file() and path.resolve() != place.resolve():
        shutil.copyfile(_own(path), place)


def _own(path):
  """Returns the path of a model's file, which must not link elsewhere."""
  root = path.parent.resolve()
  # Hugging Face's cache has links from models--*/snapshots/* to blobs.
  if root.parent.name == "snapshots":
    root = root.parents[1]
  return limits.check_within(path, root)


def tensors(directory: pathlib.Path) -> dict[str, safetensors_file.Stored]:
  """Returns a model's tensors from one file or several, not yet read."""
  if (directory / WEIGHTS).is_file():
    return safetensors_file.stored(_own(directory / WEIGHTS))
  if (directory / _INDEX).is_file():
    return _shards(directory)
  pickles = sorted(path.name for path in directory.glob("*.bin"))
  if pickles:
    raise ValueError(
      f"{directory}: got weights only as {', '.join(pickles)}, expected "
      f"{WEIGHTS}: pickles are not read because they can run any code; "
      "convert them with the transformers library's save_pretrained."
    )
  raise ValueError(
    f"{directory}: got no weights, expected {WEIGHTS} or {_INDEX}."
  )


def is_name(name: Any) -> bool:
  """Returns whether a value is a file name without a directory."""
  return (
    isinstance(name, str)
    and pathlib.PurePath(name).name == name
    # Lone surrogates cannot be encoded in a file name.
    and len(name.encode(errors="replace")) <= _LONGEST_NAME
    and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in name)
  )


def _shards(directory):
  index = directory / _INDEX
  places = read_json(index).get("weight_map")
  if not isinstance(places, dict) or not all(map(is_name, places.values())):
    raise ValueError(
      f"{index}: got {str(places)[:80]}, expected a weight_map from tensors to "
      "files beside it."
    )
  tensors = {}
  for name in sorted(set(places.values())):
    if not (directory / name).is_file():
      raise ValueError(f"{index} names {name}, which is not in {directory}.")
    part = safetensors_file.stored(_own(directory / name))
    for tensor, value in part.items():
      if places.get(tensor) != name:
        raise ValueError(
          f"{directory / name} holds {tensor}, which {index} does not say."
        )
      tensors[tensor] = value
  lost = sorted(places.keys() - tensors.keys())
  if lost:
    raise ValueError(f"{directory / places[lost[0]]} lacks {lost[0]}.")
  return tensors
