"""Files of trained models: the safetensors format, with JSON in its header.

    model.safetensors
      header     {"__metadata__": {"jaxseq": JSON}, ...}
      tensors    the variables, by their paths: "params/encoder/kernel"

Nothing of a file is executed: names in it choose among the kinds of models and
the mixers that are registered, and all else is numbers, strings and lists.
"""

import math
import os

from flax import errors as flax_errors
import jax
import numpy as np

from jaxseq import _codec
from jaxseq import _validate
from jaxseq.data import sources
from jaxseq.interop import described_file
from jaxseq.models import kinds
from jaxseq.models import model as trained

NAME = "model.safetensors"

# Fields of configurations that change nothing of what a trained network says.
_OF_TRAINING = ("optimizer", "batch_size", *_codec.OF_DEVICES)
# Numbers of a prepared example at most, and pixels of an image.
_LARGEST_EXAMPLE = 2**22
_LARGEST_IMAGE = 2**24
# What stands behind the numbers of a preparation.
_FLOAT32 = float(np.finfo(np.float32).max)


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
    "kind": model.kind,
    "network": _encode(model.network, "network"),
    "preparation": _encode(model.preparation.to_json(), "preparation"),
    "signature": _encode(model.signature, "signature"),
    "about": _encode(model.about, "about"),
    "versions": _encode(model.versions, "versions"),
  }
  described_file.save(path, KIND, described, model.variables)


def load(path: str | os.PathLike, *, finite: bool = True) -> trained.Model:
  """Reads a model that `save` wrote.

  Args:
    path: the file.
    finite: whether weights that are not finite are refused, as a run that goes
      on with `--on_nonfinite=ignore` may leave them.

  Returns:
    The model, with its digest.

  Raises:
    ValueError: if the file is no such model, is damaged, or was written by a
      later version.
    FileNotFoundError: if there is no such file.
  """
  return described_file.load(path, KIND, finite=finite)


def load_kind(name: str, path: str | os.PathLike, kind: str) -> trained.Model:
  """Reads a model of one kind, as the option `name` asks for.

  Raises:
    ValueError: if the model is of another kind, and as `load`.
    FileNotFoundError: if there is no such file.
  """
  model = load(path)
  if model.kind != kind:
    got = f"a model of {model.kind} in {os.fspath(path)!r}"
    raise ValueError(f"{name}: got {got}, expected one of {kind}.")
  return model


def _decode(contents):
  """The model of a file."""
  described = contents.described
  for name in ("network", "preparation", "signature", "about", "versions"):
    _validate.instance(name, described[name], dict, "an object")
  _validate.choice("kind", described["kind"], kinds.names())
  _check_preparation(described["preparation"], contents.tensors)
  model = trained.Model(
    described["kind"],
    described_file.make_network(
      kinds.get(described["kind"]).network,
      described["network"],
      contents,
      "network",
    ),
    contents.tree,
    sources.from_json(_codec.decode(described["preparation"])),
    _signature(described["signature"]),
    _codec.decode(described["about"]),
    described["versions"],
    contents.digest,
  )
  _check_fit(model)
  _check_names(model)
  return model


def _check_preparation(fields, tensors):
  """Refuses a preparation that asks for more memory than there is reason to."""
  channels = fields.get("channels")
  width = len(channels) if isinstance(channels, list) and channels else 1
  largest = max(described_file.largest_size(tensors), 1024)
  bounds = {"length": _LARGEST_EXAMPLE // width, "vocab_size": largest}
  if fields.get("kind") in ("forecast", "panel"):
    bounds["horizon"] = largest
  for name, most in bounds.items():
    value = fields.get(name)
    if isinstance(value, int | float) and value > most:
      expected = f"at most {most}"
      raise _validate.error(f"preparation: {name}", value, expected)
  size = fields.get("image_size")
  if isinstance(size, list) and all(type(x) is int for x in size):
    if math.prod(size) > _LARGEST_IMAGE:
      expected = f"at most {_LARGEST_IMAGE} pixels"
      raise _validate.error("preparation: image_size", size, expected)
  for means, deviations in (
    ("mean", "deviation"),
    ("target_mean", "target_deviation"),
  ):
    _check_scale(deviations, fields.get(means), fields.get(deviations))


def _check_scale(name, means, deviations):
  """Refuses a scale on which zeros would not be finite."""
  if not isinstance(means, list) or not isinstance(deviations, list):
    return
  for mean, deviation in zip(means, deviations):
    if all(isinstance(x, int | float) for x in (mean, deviation)) and (
      deviation > 0
    ):
      # Zeros, and the deviation itself, have to be numbers of the network's.
      if not max(abs(mean), 1) / _FLOAT32 < deviation <= _FLOAT32:
        got = f"{deviation} for the mean {mean}"
        expected = "numbers that float32 can hold once they are standardized"
        raise _validate.error(f"preparation: {name}", got, expected)


def _check_names(model):
  """Checks that outputs and their names are as many, and that names differ."""
  prepared = model.preparation
  for field in ("classes", "targets", "channels"):
    names = getattr(prepared, field, None) or ()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
      expected = "each name once"
      raise _validate.error(f"preparation: {field}", twice, expected)
  field = {"classification": "classes", "regression": "targets"}.get(model.kind)
  names = field and getattr(prepared, field, None)
  outputs = getattr(model.network, "num_outputs", None)
  if names and len(names) != outputs:
    expected = f"{outputs}, one for each output"
    raise _validate.error(f"preparation: {field}", len(names), expected)


def _signature(words):
  """Returns the signature of what a file says of it."""
  signature = {}
  for name, entry in words.items():
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
    signature[name] = dtype, tuple(axes)
  return signature


def _check_fit(model):
  """Checks that the variables are those of the network."""
  # In files of before, time of seasonal forecasters is said to be free.
  forecasts = model.kind == "forecasting"
  time = getattr(model.preparation, "length", 2) if forecasts else 2
  size = {"batch": 1, "time": time}
  shapes = {
    name: jax.ShapeDtypeStruct([size.get(a, a) for a in axes], dtype)
    for name, (dtype, axes) in model.signature.items()
  }
  try:
    jax.eval_shape(
      lambda variables, arrays: model.parts.compute(
        model.network, variables, arrays
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


def _encode(value, name):
  """Returns a value as JSON has it, without what only training needs."""
  return _codec.encode(value, name, _OF_TRAINING)


KIND = described_file.Kind(
  "model",
  "jaxseq.save",
  ("kind", "network", "preparation", "signature", "about"),
  _decode,
)
