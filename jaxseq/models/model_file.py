"""Files of trained models: the safetensors format, with JSON in its header.

    model.safetensors
      header     {"__metadata__": {"jaxseq": JSON}, ...}
      tensors    the variables, by their paths: "params/encoder/kernel"

Nothing of a file is executed: names in it choose among the kinds of models and
the mixers that are registered, and all else is numbers, strings and lists.
"""

import dataclasses
import os
import pathlib

from flax import errors as flax_errors
import jax
import numpy as np

from jaxseq import _validate
from jaxseq.data import sources
from jaxseq.interop import described_file
from jaxseq.models import kinds
from jaxseq.models import model as trained
from jaxseq.training import configuration

NAME = "model.safetensors"
# Of what lies in the header; another one cannot be read.
FORMAT = 1

# Fields of configurations that change nothing of what a trained network says.
_OF_TRAINING = ("optimizer", "batch_size", "time_axis", "time_scheme")
_FIELDS = (
  *("format", "kind", "network", "preparation"),
  *("signature", "about", "versions"),
)


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
  described_file.write(path, described, model.variables)


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
  found = described_file.read(
    pathlib.Path(path), "model", "jaxseq.save", FORMAT
  )
  try:
    described_file.check_fields(found.described, _FIELDS)
    return _decode(found)
  except ValueError as error:
    raise ValueError(f"{path} is no whole model: {error}") from error


def _decode(found):
  """Makes a model of what a file holds."""
  described, decode = found.described, described_file.decode
  for name in ("network", "preparation", "signature", "about", "versions"):
    if not isinstance(described[name], dict):
      raise _validate.error(name, type(described[name]).__name__, "an object")
  _validate.choice("kind", described["kind"], kinds.names())
  network = described["network"]
  described_file.check_sizes(network, found.tensors)
  cls = kinds.get(described["kind"]).NETWORK
  for name in ("parent", "name"):
    if name in network:
      raise _validate.error("network", name, "fields of a network")
  made = configuration.from_config_dict(cls, decode(network), name="network")
  model = trained.Model(
    described["kind"],
    made,
    found.tree,
    sources.from_json(decode(described["preparation"])),
    _signature(described["signature"]),
    decode(described["about"]),
    described["versions"],
    found.digest,
  )
  _check_fit(model)
  return model


def _signature(given):
  """Returns the signature of what a file says of it."""
  made = {}
  for name, entry in given.items():
    try:
      dtype, axes = entry
      fits = np.dtype(dtype).kind in "fiub" and all(
        axis in ("batch", "time")
        or (type(axis) is int and 0 < axis <= described_file.LARGEST)
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
  except (
    flax_errors.FlaxError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
  ) as error:
    reason = " ".join(str(error).split())[:200]
    raise ValueError(
      f"its tensors are not those of its network: {reason}"
    ) from error


def _encode_network(network):
  """Returns the fields of a Flax module."""
  return {
    field.name: _encode(getattr(network, field.name), field.name)
    for field in dataclasses.fields(network)
    if field.name not in ("parent", "name")
  }


def _encode(value, name):
  """Returns a value as JSON has it, without what only training needs."""
  return described_file.encode(value, name, _OF_TRAINING)
