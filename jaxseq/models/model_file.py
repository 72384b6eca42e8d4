"""Files of trained models: the safetensors format, with JSON in its header.

    model.safetensors
      header     {"__metadata__": {"jaxseq": JSON}, ...}
      tensors    the variables, by their paths: "params/encoder/kernel"

Nothing of a file is executed: names in it choose among the kinds of models and
the mixers that are registered, and all else is numbers, strings and lists.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
import pathlib

from flax import errors as flax_errors
from flax import traverse_util
import jax
import ml_collections
import numpy as np

from jaxseq import _json
from jaxseq import _validate
from jaxseq.data import preparation as preparations
from jaxseq.interop import safetensors_file
from jaxseq.models import kinds
from jaxseq.models import model as trained
from jaxseq.training import configuration
from jaxseq.training import integrity

NAME = "model.safetensors"
# Of what lies in the header; another one cannot be read.
FORMAT = 1

_KEY, _DIGEST = "jaxseq", "sha256"
# Fields of configurations that change nothing of what a trained network says.
_OF_TRAINING = ("optimizer", "batch_size", "time_axis", "time_scheme")
_FIELDS = (
  *("format", "kind", "network", "preparation"),
  *("signature", "about", "versions", _DIGEST),
)
# Sizes that no tensor has to have, such as those of windows.
_FREE_SIZE = 1024
_FREE = ("window", "chunk_size", "horizon", "length")
_LARGEST = 2**24


def save(path: str | os.PathLike, model: trained.Model) -> None:
  """Writes a model to a file, which is replaced as a whole if it is there.

  Args:
    path: the file.
    model: the model.

  Raises:
    ValueError: if a field of the network is nothing that JSON can hold.
    OSError: if the file cannot be written.
  """
  described = {
    "format": FORMAT,
    "kind": model.kind,
    "network": _encode_network(model.network),
    "preparation": _encode(model.preparation.to_json(), "preparation"),
    "signature": _encode(model.signature, "signature"),
    "about": _encode(model.about, "about"),
    "versions": _encode(model.versions, "versions"),
  }
  tensors = _flat(model.variables)
  described[_DIGEST] = _digest(described, tensors)
  # One entry: the package writes several in any order.
  metadata = {_KEY: _canonical(described)}
  safetensors_file.write(pathlib.Path(path), tensors, metadata)


def load(path: str | os.PathLike) -> trained.Model:
  """Reads a model that `save` wrote.

  Args:
    path: the file.

  Returns:
    The model, with its digest.

  Raises:
    ValueError: if the file is no such model, is damaged, or was written by a
      later version.
    FileNotFoundError: if there is no such file.
  """
  path = pathlib.Path(path)
  tensors, metadata = safetensors_file.read_all(path)
  if _KEY not in metadata:
    raise ValueError(
      f"{path} holds tensors and no model of jaxseq: expected a file that "
      "jaxseq.save wrote."
    )
  try:
    described = _json.loads(metadata[_KEY])
    if not isinstance(described, dict):
      raise ValueError("the header holds no object")
    _check_format(described)
    stated = described.pop(_DIGEST)
    digest = _digest(described, tensors)
    if stated != digest:
      raise ValueError("its SHA-256 differs from what it says: it was altered")
    return _decode(described, tensors, digest)
  except ValueError as error:
    raise ValueError(f"{path} is no whole model: {error}") from error


def _check_format(described):
  """Checks the version of the format, before anything else is looked at."""
  found = described.get("format")
  if type(found) is not int or found < 1:
    raise _validate.error("format", found, f"a number up to {FORMAT}")
  if found != FORMAT:
    age = "a later" if found > FORMAT else "an earlier"
    version = described.get("versions")
    version = version.get("jaxseq") if isinstance(version, dict) else None
    raise ValueError(
      f"it has format {found}, of {age} version of jaxseq ({version}), and "
      f"this one reads format {FORMAT}: use the version that wrote it"
    )
  if set(described) != set(_FIELDS):
    wrong = sorted(set(described) ^ set(_FIELDS))
    raise _validate.error("fields", wrong, ", ".join(_FIELDS))


def _decode(described, tensors, digest):
  """Makes a model of what a file holds."""
  for name in ("network", "preparation", "signature", "about", "versions"):
    if not isinstance(described[name], dict):
      raise _validate.error(name, type(described[name]).__name__, "an object")
  _validate.choice("kind", described["kind"], kinds.names())
  network = described["network"]
  _check_sizes(network, tensors)
  cls = kinds.get(described["kind"]).NETWORK
  for name in ("parent", "name"):
    if name in network:
      raise _validate.error("network", name, "fields of a network")
  made = configuration.from_config_dict(cls, _numbers(network), name="network")
  model = trained.Model(
    described["kind"],
    made,
    traverse_util.unflatten_dict(tensors, sep="/"),
    preparations.Preparation.from_json(_numbers(described["preparation"])),
    _signature(described["signature"]),
    _numbers(described["about"]),
    described["versions"],
    digest,
  )
  _check_fit(model)
  return model


def _check_sizes(network, tensors):
  """Refuses sizes that ask for more than the tensors give reason to."""
  largest = max((max(x.shape, default=0) for x in tensors.values()), default=0)
  for name, value in _leaves(network):
    if name == "num_layers":
      layers = max(len(tensors), largest)
      _validate.integer(f"network: {name}", value, 0, layers)
    elif type(value) is int:
      free = any(word in name for word in _FREE)
      most = _LARGEST if free else max(largest, _FREE_SIZE)
      _validate.integer(f"network: {name}", value, -most, most)


def _leaves(value, name=""):
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


def _signature(given):
  """Returns the signature of what a file says of it."""
  made = {}
  for name, entry in given.items():
    try:
      dtype, axes = entry
      fits = np.dtype(dtype).kind in "fiub" and all(
        axis in ("batch", "time")
        or (type(axis) is int and 0 < axis <= _LARGEST)
        for axis in axes
      )
    except (TypeError, ValueError):
      fits = False
    if not fits:
      raise _validate.error(f"signature: {name}", entry, "a dtype and axes")
    made[name] = dtype, tuple(axes)
  return made


def _check_fit(model):
  """Checks that the variables are those of the network."""
  size = {"batch": 1, "time": 2}
  shapes = {
    name: jax.ShapeDtypeStruct([size.get(a, a) for a in axes], dtype)
    for name, (dtype, axes) in model.signature.items()
  }
  try:
    jax.eval_shape(
      lambda variables, given: model.parts.compute(
        model.network, variables, given
      ),
      model.variables,
      shapes,
    )
  except (flax_errors.FlaxError, KeyError, TypeError, IndexError) as error:
    reason = " ".join(str(error).split())[:200]
    raise ValueError(
      f"its tensors are not those of its network: {reason}"
    ) from error


def _flat(variables):
  """Returns the variables as arrays by their paths."""
  flat = traverse_util.flatten_dict(variables, sep="/")
  return {name: np.asarray(x) for name, x in flat.items()}


def _canonical(described):
  """Returns JSON that is the same for the same values."""
  return json.dumps(described, sort_keys=True, allow_nan=False)


def _digest(described, tensors):
  """Returns the SHA-256 of the JSON and of all tensors."""
  digest = hashlib.sha256(_canonical(described).encode())
  for name in sorted(tensors):
    digest.update(f"{name}:{integrity.leaf_digest(tensors[name])}".encode())
  return digest.hexdigest()


def _encode_network(network):
  """Returns the fields of a Flax module."""
  return {
    field.name: _encode(getattr(network, field.name), field.name)
    for field in dataclasses.fields(network)
    if field.name not in ("parent", "name")
  }


def _encode(value, name):
  """Returns a value as JSON has it; infinities as {"float": "inf"}."""
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return {
      field.name: _encode(getattr(value, field.name), field.name)
      for field in dataclasses.fields(value)
      if field.name not in _OF_TRAINING
    }
  if isinstance(value, Mapping | ml_collections.ConfigDict):
    return {str(k): _encode(x, f"{name}.{k}") for k, x in value.items()}
  if isinstance(value, (list, tuple)):
    return [_encode(x, name) for x in value]
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, float) and not np.isfinite(value):
    return {"float": str(value)}
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  raise _validate.error(
    name, value, "numbers, strings, lists and mappings, to be saved"
  )


def _numbers(value):
  """Undoes what `_encode` does to infinities."""
  if isinstance(value, list):
    return [_numbers(x) for x in value]
  if not isinstance(value, dict):
    return value
  if set(value) == {"float"}:
    word = _validate.choice("float", value["float"], ("inf", "-inf", "nan"))
    return float(word)
  return {k: _numbers(x) for k, x in value.items()}
