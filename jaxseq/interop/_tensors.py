"""Conversion between PyTorch tensors and parameters."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
from typing import Any
from typing import NamedTuple
from typing import Protocol

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq import validate
from jaxseq.interop import _placement
from jaxseq.interop import safetensors_file
from jaxseq.types import PyTree

# Places by parameter path, as "stack/layers_0/norm/scale". There may be more
# places than parameters.
Places = Mapping[str, _placement.Place]
# Alignment in bytes of arrays that a CPU device uses without a copy.
_ALIGNMENT = 64


class Quantizer(Protocol):
  """Creates weights that replace parameters, as these are read."""

  def quantizer(
    self, network: nn.SequenceNetwork, variables: Mapping[str, PyTree]
  ) -> Callable[[str, np.ndarray], Any]:
    """Returns a function of a path and its array; None for unchanged arrays.

    Args:
      network: the network.
      variables: shapes and dtypes of the variables.
    """
    ...


def from_torch(
  config: nn.NetworkConfig,
  vocab_size: int,
  places: Places,
  tensors: Mapping[str, safetensors_file.Stored],
  where: str,
  dtype: jax.typing.DTypeLike,
  finite: bool,
  quantize: Quantizer | None = None,
) -> dict[str, PyTree]:
  """Reads parameters from arrays by PyTorch name, one after the other."""
  make = None
  if quantize is not None:
    abstract = traverse_util.unflatten_dict(shapes(config, vocab_size), sep="/")
    network = nn.SequenceNetwork(config, vocab_size, vocab_size)
    make = quantize.quantizer(network, {"params": abstract})
  leaves = {}
  stored = readers(config, vocab_size, places, tensors, where, finite)
  for path, one in stored.items():
    array, leaf = one.read(), None
    if make:
      array = np.array(array, one.dtype, order="C")
      leaf = make(path, array)
    if leaf is None:
      leaf = _put(cast(array, dtype, one.name, "param_dtype"))
    leaves[path] = leaf
  return traverse_util.unflatten_dict(leaves, sep="/")


class Reader(NamedTuple):
  """A parameter that is read on demand.

  Attributes:
    name: name of its tensors, for messages.
    shape: shape of the parameter.
    dtype: dtype of the parameter, as in `init`.
    read: returns the parameter, in the dtype of its tensors or in its own.
  """

  name: str
  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[], np.ndarray]


def readers(
  config: nn.NetworkConfig,
  vocab_size: int,
  places: Places,
  tensors: Mapping[str, safetensors_file.Stored],
  where: str,
  finite: bool,
) -> dict[str, Reader]:
  """Returns the parameters of a network by path, not yet read."""
  # Layers must not be scanned; `where` is the arrays' source, for messages.
  expected = shapes(config, vocab_size)
  used = {path: places[path] for path in expected}
  known_names = {name for place in used.values() for name in place.names}
  for verb, names, reason in (
    ("lacks", known_names - tensors.keys(), "asks for"),
    ("holds", tensors.keys() - known_names, "has no place for"),
  ):
    if names:
      raise ValueError(
        f"{where} {verb} {_some(names)}, which config.json {reason}."
      )
  result = {}
  for path, place in used.items():
    want = expected[path]
    read = functools.partial(_read, place, want, tensors, where, finite)
    name = f"{where}: {_some(place.names)}"
    result[path] = Reader(name, want.shape, want.dtype, read)
  return result


def _read(place, want, tensors, where, finite):
  """Reads a parameter."""
  arrays = []
  for name, shape in zip(place.names, place.shapes(want.shape)):
    if tensors[name].shape != shape:
      needed = f"shape {shape}, by config.json"
      raise validate.error(f"{where}: {name}", tensors[name].shape, needed)
  for name in place.names:
    array = tensors[name].read()
    arrays.append(array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
      raise ValueError(
        f"{where}: {name}: got {array.dtype}, expected a floating dtype."
      )
    if finite and not safetensors_file.is_finite(array):
      raise ValueError(
        f"{where}: {name}: got numbers that are not finite; "
        "load(..., finite=False) reads them."
      )
  return place.read(arrays, want.dtype)


def _put(array):
  """Copies an array of any strides to the device, without a program."""
  if array.ctypes.data % _ALIGNMENT == 0 and array.flags.c_contiguous:
    # Otherwise a CPU device would keep using the file's pages.
    array = array.copy()
  return jax.block_until_ready(jax.device_put(array))


def cast(
  array: np.ndarray, dtype: jax.typing.DTypeLike, name: str, option: str
) -> np.ndarray:
  """Casts an array to a dtype, whose range must include its finite numbers."""
  with np.errstate(over="ignore"):
    narrow = array.astype(jnp.dtype(dtype), copy=False)
  fits = jnp.finfo(narrow.dtype).max >= jnp.finfo(array.dtype).max
  if not fits and not safetensors_file.is_finite(narrow):
    if safetensors_file.is_finite(array):
      raise ValueError(
        f"{name}: got numbers up to {np.abs(array).max():.3g}, expected those "
        f'of {narrow.dtype}: pass {option}="bfloat16" or "float32", which have '
        "larger ones."
      )
  return narrow


def to_torch(
  config: nn.NetworkConfig,
  vocab_size: int,
  places: Places,
  params: Mapping[str, PyTree],
) -> dict[str, np.ndarray]:
  """Undoes `from_torch`, in the parameters' dtypes."""
  leaves = traverse_util.flatten_dict(params, sep="/")
  expected, got = (
    {path: np.shape(leaf) for path, leaf in flat.items()}
    for flat in (shapes(config, vocab_size), leaves)
  )
  for path in sorted(expected.keys() | got.keys()):
    if expected.get(path) != got.get(path):
      raise ValueError(
        f"variables: got shape {got.get(path)} of {path}, expected "
        f"{expected.get(path)} of a network with this config (None: absent)."
      )
  tensors = {}
  for path in expected:
    place = places[path]
    for name, tensor in zip(place.names, place.write(np.asarray(leaves[path]))):
      if place.rows:
        tensor = place.rows.put(tensors.get(name), tensor)
      tensors[name] = tensor
  return tensors


def shapes(
  config: nn.NetworkConfig, vocab_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the parameters' shapes and dtypes, as in `init`."""
  stack, traced_as = _distinct_layers(config.stack)
  config = dataclasses.replace(config, stack=stack)
  network = nn.SequenceNetwork(config, vocab_size, vocab_size)
  tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  params = nn.mixer.parameter_shapes(network, tokens)
  if traced_as:
    traced = dict(params["stack"])
    layers = [traced.pop(f"layers_{i}") for i in range(stack.num_layers)]
    traced |= {f"layers_{i}": layers[k] for i, k in enumerate(traced_as)}
    params = {**params, "stack": traced}
  return traverse_util.flatten_dict(params, sep="/")


def _distinct_layers(stack):
  """Returns a stack of distinct layers, and the index of each layer in it."""
  layers = stack.every_layer
  first = [i for i, each in enumerate(layers) if each not in layers[:i]]
  together = stack.shared_block or stack.hybrid or stack.scan_layers
  if together or not (stack.layers or len(first) == 1):
    return stack, ()
  distinct = dataclasses.replace(
    stack,
    layers=tuple(stack.layers[i] for i in first) if stack.layers else (),
    num_layers=len(first),
    final_norm=stack.ends_in_norm,
  )
  return distinct, [first.index(layers.index(each)) for each in layers]


def _some(names):
  names = sorted(names)
  shown = ", ".join(names[:4])
  return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
