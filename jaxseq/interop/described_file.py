"""Files of arrays that describe themselves: safetensors with JSON in a header.

    header     {"__metadata__": {"jaxseq": JSON}, ...}
    tensors    variables, by their paths: "params/encoder/kernel"

The JSON ends with the SHA-256 of itself and of all tensors. Nothing of a file
is executed: all in it is numbers, strings and lists.
"""

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any
from typing import NamedTuple

from flax import traverse_util
import ml_collections
import numpy as np

from jaxseq import _json
from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.interop import safetensors_file
from jaxseq.training import integrity

KEY, DIGEST = "jaxseq", "sha256"
# Sizes that no tensor has to have, such as those of windows.
_FREE_SIZE = 1024
_FREE = ("window", "chunk_size", "horizon", "length")
LARGEST = 2**24


class Found(NamedTuple):
  """What a file holds.

  Attributes:
    described: the JSON, without the digest.
    tensors: arrays by their paths; `tree` makes variables of them.
    digest: SHA-256 of both.
  """

  described: dict[str, Any]
  tensors: dict[str, np.ndarray]
  digest: str

  @property
  def tree(self) -> PyTree:
    """The arrays as nested dictionaries."""
    return traverse_util.unflatten_dict(self.tensors, sep="/")


def write(
  path: str | os.PathLike, described: Mapping[str, Any], variables: PyTree
) -> None:
  """Writes a file, which is replaced as a whole if it is there.

  Args:
    path: the file.
    described: what JSON can hold, with finite numbers; see `encode`.
    variables: nested dictionaries of arrays.

  Raises:
    OSError: if the file cannot be written.
  """
  flat = traverse_util.flatten_dict(variables, sep="/")
  tensors = {name: np.asarray(x) for name, x in flat.items()}
  described = {**described, DIGEST: digest(described, tensors)}
  # One entry: the package writes several in any order.
  metadata = {KEY: _canonical(described)}
  safetensors_file.write(pathlib.Path(path), tensors, metadata)


def read(path: str | os.PathLike, what: str, writer: str, form: int) -> Found:
  """Reads a file that `write` wrote.

  Args:
    path: the file.
    what: that it should hold, for messages, such as "model".
    writer: name of the function that writes such files.
    form: number that the JSON has under "format".

  Raises:
    ValueError: if the file is none of these, is damaged, or has another format.
    FileNotFoundError: if there is no such file.
  """
  tensors, metadata = safetensors_file.read_all(path)
  if KEY not in metadata:
    raise ValueError(
      f"{path} holds tensors and no {what} of jaxseq: expected a file that "
      f"{writer} wrote."
    )
  try:
    described = _json.loads(metadata[KEY])
    if not isinstance(described, dict):
      raise ValueError("the header holds no object")
    _check_format(described, form)
    stated = described.pop(DIGEST, None)
    found = digest(described, tensors)
    if stated != found:
      raise ValueError("its SHA-256 differs from what it says: it was altered")
  except ValueError as error:
    raise ValueError(f"{path} is no whole {what}: {error}") from error
  return Found(described, tensors, found)


def _check_format(described, form):
  """Checks the version of the format, before other things are looked at."""
  found = described.get("format")
  if type(found) is not int or found < 1:
    raise _validate.error("format", found, f"a number up to {form}")
  if found != form:
    age = "a later" if found > form else "an earlier"
    version = described.get("versions")
    version = version.get("jaxseq") if isinstance(version, dict) else None
    raise ValueError(
      f"it has format {found}, of {age} version of jaxseq ({version}), and "
      f"this one reads format {form}: use the version that wrote it"
    )


def check_fields(described: Mapping[str, Any], fields: Collection[str]) -> None:
  """Checks that the JSON has these fields and no others.

  Raises:
    ValueError: if not.
  """
  if set(described) != set(fields):
    wrong = sorted(set(described) ^ set(fields))
    raise _validate.error("fields", wrong, ", ".join(fields))


def check_sizes(network: Any, tensors: Mapping[str, np.ndarray]) -> None:
  """Refuses sizes that ask for more than the tensors give reason to.

  Args:
    network: what the JSON says of a network.
    tensors: of the file.

  Raises:
    ValueError: if one does.
  """
  largest = max((max(x.shape, default=0) for x in tensors.values()), default=0)
  for name, value in _leaves(network):
    if name == "num_layers":
      layers = max(len(tensors), largest)
      _validate.integer(f"network: {name}", value, 0, layers)
    elif type(value) is int:
      free = any(word in name for word in _FREE)
      most = LARGEST if free else max(largest, _FREE_SIZE)
      _validate.integer(f"network: {name}", value, -most, most)


def _leaves(value, name="") -> Iterator[tuple[str, Any]]:
  """Yields the values of nested objects and lists, with the nearest name."""
  if isinstance(value, dict):
    for key, item in value.items():
      yield from _leaves(item, key)
  elif isinstance(value, list):
    # Options are pairs of name and value.
    pair = len(value) == 2 and isinstance(value[0], str)
    for item in value[1:] if pair else value:
      yield from _leaves(item, value[0] if pair else name)
  else:
    yield name, value


def digest(
  described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> str:
  """Returns the SHA-256 of the JSON and of all tensors."""
  found = hashlib.sha256(_canonical(described).encode())
  for name in sorted(tensors):
    found.update(f"{name}:{integrity.leaf_digest(tensors[name])}".encode())
  return found.hexdigest()


def _canonical(described):
  """Returns JSON that is the same for the same values."""
  return json.dumps(described, sort_keys=True, allow_nan=False)


def encode(value: Any, name: str, without: Collection[str] = ()) -> Any:
  """Returns a value as JSON has it; infinities as {"float": "inf"}.

  Args:
    value: numbers, strings, lists, mappings and dataclasses of these.
    name: what it is called in messages.
    without: fields of dataclasses that are left out.

  Raises:
    ValueError: if it holds something else.
  """
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return {
      field.name: encode(getattr(value, field.name), field.name, without)
      for field in dataclasses.fields(value)
      if field.name not in without
    }
  if isinstance(value, Mapping | ml_collections.ConfigDict):
    return {str(k): encode(x, f"{name}.{k}", without) for k, x in value.items()}
  if isinstance(value, (list, tuple)):
    return [encode(x, name, without) for x in value]
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, float) and not np.isfinite(value):
    return {"float": str(value)}
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  raise _validate.error(
    name, value, "numbers, strings, lists and mappings, to be saved"
  )


def decode(value: Any) -> Any:
  """Undoes what `encode` does to infinities.

  Raises:
    ValueError: if one is none.
  """
  if isinstance(value, list):
    return [decode(x) for x in value]
  if not isinstance(value, dict):
    return value
  if set(value) == {"float"}:
    word = _validate.choice("float", value["float"], ("inf", "-inf", "nan"))
    return float(word)
  return {k: decode(x) for k, x in value.items()}
