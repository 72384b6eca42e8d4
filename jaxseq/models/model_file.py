"""Files of trained models: the safetensors format, with JSON in its header.

    model.safetensors
      header     {"__metadata__": {"jaxseq": JSON}, ...}
      tensors    the variables, by their paths: "params/encoder/kernel"

Loading executes nothing from the file: names select registered model kinds and
mixers; everything else is numbers, strings and lists.
"""

import math
import os
import re

from flax import errors as flax_errors
import jax
import numpy as np

from jaxseq import _codec
from jaxseq import _registry
from jaxseq import validate
from jaxseq.data import sources
from jaxseq.interop import described_file
from jaxseq.models import kinds
from jaxseq.models import model as trained

NAME = "model.safetensors"

# Configuration fields that do not change a trained network's outputs.
_OF_TRAINING = ("optimizer", "batch_size", *_codec.OF_DEVICES)
# Largest size of a prepared example, and largest number of pixels.
_LARGEST_EXAMPLE = 2**22
_LARGEST_IMAGE = 2**24
# Largest float32 number, the bound of standardized values.
_FLOAT32 = float(np.finfo(np.float32).max)


def save(path: str | os.PathLike, model: trained.Model) -> None:
  """Writes a model to a file; an existing file is replaced as a whole.

  Args:
    path: the file.
    model: the model.

  Raises:
    ValueError: if JSON cannot represent a field of the network.
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
  if module := kinds.outside(model.kind):
    described["module"] = module
  described_file.save(path, KIND, described, model.variables)


def load(path: str | os.PathLike, *, finite: bool = True) -> trained.Model:
  """Reads a model that `save` wrote.

  Args:
    path: the file.
    finite: whether to reject weights that are not finite, which a run with
      `--on_nonfinite=ignore` may write.

  Returns:
    The model, with its digest.

  Raises:
    ValueError: if the file is not a model, is damaged, was written by a later
      version, or is of a kind whose module has to be imported first.
    FileNotFoundError: if there is no such file.
  """
  return described_file.load(path, KIND, finite=finite)


def load_kind(name: str, path: str | os.PathLike, kind: str) -> trained.Model:
  """Reads a model of one kind for the option `name`.

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
  """Returns the model of a file."""
  described = contents.described
  for name in ("network", "preparation", "signature", "about", "versions"):
    validate.instance(name, described[name], dict, "an object")
  _check_kind(described)
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


def _check_kind(described):
  """Rejects an unknown kind, with the module to import if the file names it."""
  kind, module = described["kind"], described.get("module")
  if kind not in kinds.names() and isinstance(module, str):
    if re.fullmatch(r"[A-Za-z_][\w.]{,99}", module):
      expected = f"`import {module}` before, which reads it"
      wrong = validate.error("kind", kind, expected)
      raise _registry.NotRegistered(str(wrong))
  kinds.KINDS.check(kind, "kind")


def _check_preparation(fields, tensors):
  """Rejects a preparation that would need unreasonable memory."""
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
      raise validate.error(f"preparation: {name}", value, expected)
  size = fields.get("image_size")
  if isinstance(size, list) and all(type(x) is int for x in size):
    if math.prod(size) > _LARGEST_IMAGE:
      expected = f"at most {_LARGEST_IMAGE} pixels"
      raise validate.error("preparation: image_size", size, expected)
  for means, deviations in (
    ("mean", "deviation"),
    ("target_mean", "target_deviation"),
  ):
    _check_scale(deviations, fields.get(means), fields.get(deviations))


def _check_scale(name, means, deviations):
  """Rejects a scale if zeros would not be finite after standardization."""
  if not isinstance(means, list) or not isinstance(deviations, list):
    return
  for mean, deviation in zip(means, deviations):
    if all(isinstance(x, int | float) for x in (mean, deviation)) and (
      deviation > 0
    ):
      # Standardized zeros, and the deviation, must be finite in float32.
      if not max(abs(mean), 1) / _FLOAT32 < deviation <= _FLOAT32:
        got = f"{deviation} for the mean {mean}"
        expected = "numbers that float32 can hold once they are standardized"
        raise validate.error(f"preparation: {name}", got, expected)


def _check_names(model):
  """Checks that there is one distinct name for each output."""
  prepared = model.preparation
  for field in ("classes", "targets", "channels"):
    names = getattr(prepared, field, None) or ()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
      expected = "each name once"
      raise validate.error(f"preparation: {field}", twice, expected)
  field = {"classification": "classes", "regression": "targets"}.get(model.kind)
  names = field and getattr(prepared, field, None)
  outputs = getattr(model.network, "num_outputs", None)
  if names and len(names) != outputs:
    expected = f"{outputs}, one for each output"
    raise validate.error(f"preparation: {field}", len(names), expected)


def _signature(words):
  """Decodes the signature in a file."""
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
      raise validate.error(f"signature: {name}", entry, "a dtype and axes")
    signature[name] = dtype, tuple(axes)
  return signature


def _check_fit(model):
  """Checks that the variables fit the network."""
  # Older files declare the time of seasonal forecasters as variable.
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
  """Encodes a value as JSON, without fields that only training needs."""
  return _codec.encode(value, name, _OF_TRAINING)


KIND = described_file.Kind(
  "model",
  "jaxseq.save",
  ("kind", "network", "preparation", "signature", "about"),
  _decode,
  # Only of kinds that are registered from outside of jaxseq.
  ("module",),
)
