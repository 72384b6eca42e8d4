"""Files of named arrays in the safetensors format.

The package `safetensors` reads and writes them; this module adds one clear
error for damaged files, and replaces files atomically. `regions` and
`write_parts` are for files that do not fit into memory: neither maps a file.
"""

from collections.abc import Callable
from collections.abc import Mapping
import errno
import functools
import json
import math
import mmap
import os
import pathlib
import struct
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq import _files
from jaxseq import _json
from jaxseq import limits
from jaxseq.training import files
from jaxseq.training import integrity

try:
  import safetensors
  from safetensors import numpy as safetensors_numpy
except ImportError as error:
  raise ModuleNotFoundError(
    "weights of other libraries are read and written by safetensors: "
    'pip install "jaxseq[interop]".',
    name="safetensors",
  ) from error

# Longest header in bytes, also the package's limit.
_LONGEST = 100_000_000
# Dtypes of weights, whose arrays are views of the mapped file.
_MAPPED = {
  "F64": np.float64,
  "F32": np.float32,
  "F16": np.float16,
  "BF16": jnp.bfloat16,
}
# Alignment in bytes of the arrays' start in `write_parts`.
_PAGE = 4096
# Exceptions of the package besides its own error.
_DAMAGE = (ValueError, TypeError, AttributeError, KeyError, OverflowError)


class Stored(NamedTuple):
  """An array of a file, which is read on demand.

  Attributes:
    shape: shape of the array.
    read: returns it; arrays of floats are read-only views of the mapped file.
  """

  shape: tuple[int, ...]
  read: Callable[[], np.ndarray]


class Region(NamedTuple):
  """The place of an array of floats in a file.

  Attributes:
    dtype: dtype of the array.
    shape: shape of the array.
    start: offset of its first byte in the file.
  """

  dtype: np.dtype
  shape: tuple[int, ...]
  start: int

  @property
  def size(self) -> int:
    """Number of bytes of the array."""
    return math.prod(self.shape) * self.dtype.itemsize


class Part(NamedTuple):
  """An array for `write_parts`.

  Attributes:
    dtype: dtype of the array.
    shape: shape of the array.
    make: returns the array.
  """

  dtype: np.dtype
  shape: tuple[int, ...]
  make: Callable[[], np.ndarray]


def stored(path: str | os.PathLike) -> dict[str, Stored]:
  """Returns the arrays of a file by name, not yet read.

  Args:
    path: the file.

  Raises:
    ValueError: see `read`, also when an array is read.
    FileNotFoundError: if there is no such file.
  """

  def opened():
    header, start = _read_header(path)
    file = safetensors.safe_open(path, framework="np")
    arrays = {}
    for name in file.keys():
      shape = tuple(file.get_slice(name).get_shape())
      one = functools.partial(_tensor, path, name, start, header[name])
      arrays[name] = Stored(shape, functools.partial(_whole, path, one))
    return arrays

  return _whole(path, opened)


def _tensor(path, name, start, entry):
  """Maps an array of a file, which is opened separately for it."""
  # All pages read from a file that stays open count as memory.
  begin, shape = start + entry["data_offsets"][0], tuple(entry["shape"])
  dtype = np.dtype(_MAPPED.get(entry["dtype"], np.void))
  size = math.prod(shape)
  if not size or not dtype.itemsize or begin % dtype.itemsize:
    with safetensors.safe_open(path, framework="np") as file:
      return file.get_tensor(name)
  with open(path, "rb", opener=limits.regular) as file:
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
  array = np.frombuffer(memory, dtype.newbyteorder("<"), size, begin)
  return array.reshape(shape)


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads the arrays of a file.

  Args:
    path: the file.

  Returns:
    The arrays by name; bfloat16 is ml_dtypes' dtype.

  Raises:
    ValueError: if the file is not in the format or damaged, a name occurs
      twice, or an array has a dtype that NumPy and ml_dtypes do not have.
    FileNotFoundError: if there is no such file.
  """
  return read_all(path)[0]


def read_all(
  path: str | os.PathLike,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads the arrays of a file, and the strings of its header.

  Args:
    path: the file.

  Returns:
    The arrays, see `read`, and the metadata of `write`.

  Raises:
    ValueError: see `read`.
    FileNotFoundError: if there is no such file.
  """

  def loaded():
    header, _ = _read_header(path)
    # The package has checked that they are strings.
    return safetensors_numpy.load_file(path), header.get("__metadata__") or {}

  return _whole(path, loaded)


def regions(
  path: str | os.PathLike,
) -> tuple[dict[str, Region], dict[str, str]]:
  """Returns the places of a file's arrays of floats, and its metadata.

  Args:
    path: the file; only its header is read.

  Raises:
    ValueError: if the file is not in the format, is damaged, or contains an
      array of another dtype.
    FileNotFoundError: if there is no such file.
  """

  def found():
    header, start = _read_header(path)
    metadata = header.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in metadata.values()):
      raise ValueError("its metadata are not texts")
    arrays, end = {}, start
    places = {name: tuple(x["data_offsets"]) for name, x in header.items()}
    for name in sorted(places, key=places.__getitem__):
      dtype, shape = header[name]["dtype"], tuple(header[name]["shape"])
      if dtype not in _MAPPED:
        raise ValueError(f"{name[:80]} has dtype {dtype!r:.20}, and no floats")
      if not all(type(x) is int and x >= 0 for x in (*shape, *places[name])):
        raise ValueError(f"{name[:80]} has sizes that are no whole numbers")
      arrays[name] = Region(np.dtype(_MAPPED[dtype]), shape, end)
      begin, stop = places[name]
      if start + begin != end or stop - begin != arrays[name].size:
        raise ValueError(f"{name[:80]} does not lie where its sizes say")
      end = start + stop
    size = os.stat(path).st_size
    if end != size:
      raise ValueError(f"it has {size} bytes, and its header says {end}")
    return arrays, metadata

  return _whole(path, found)


def write_parts(
  path: str | os.PathLike,
  parts: Mapping[str, Part],
  metadata: Callable[[Mapping[str, str]], Mapping[str, str]],
) -> None:
  """Writes arrays one after the other, so that only one is in memory.

  Args:
    path: the file; an existing one is replaced atomically.
    parts: arrays of floats by name.
    metadata: returns the header's strings by name, from the digests of the
      arrays (`integrity.leaf_digest`); their length must not depend on these.

  Raises:
    OSError: if the file cannot be written.
  """
  dtypes = {np.dtype(dtype): name for name, dtype in _MAPPED.items()}
  header, end = {}, 0
  for name, part in parts.items():
    begin, end = end, end + Region(part.dtype, part.shape, 0).size
    header[name] = {
      "dtype": dtypes[part.dtype],
      "shape": part.shape,
      "data_offsets": [begin, end],
    }

  def text(digests):
    whole = {"__metadata__": dict(metadata(digests)), **header}
    content = json.dumps(whole).encode()
    content += b" " * (-(8 + len(content)) % _PAGE)
    return struct.pack("<Q", len(content)) + content

  digests = dict.fromkeys(parts, "0" * 64)
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  with _files.replacing(path) as file:
    file.write(text(digests))
    for name, part in parts.items():
      array = np.ascontiguousarray(part.make(), part.dtype).reshape(part.shape)
      digests[name] = integrity.leaf_digest(array)
      file.write(array.reshape(-1).view(np.uint8))
    file.seek(0)
    file.write(text(digests))


def _whole(path, run):
  """Runs a function on a file; raises ValueError if the file is damaged."""
  try:
    return run()
  except OSError as error:
    reasons = {
      errno.EISDIR: "a directory, expected a safetensors file",
      errno.ELOOP: "a symbolic link to itself",
    }
    if error.errno not in reasons:
      raise
    raise ValueError(f"{path} is {reasons[error.errno]}.") from error
  except limits.NoFile:
    raise
  except (safetensors.SafetensorError, *_DAMAGE) as error:
    raise ValueError(
      f"{path} is no safetensors file, or is damaged: {error}."
    ) from error


def _read_header(path):
  """Reads a header and its end, if it is valid for the package and JSON."""
  with open(path, "rb", opener=limits.regular) as file:
    size = os.fstat(file.fileno()).st_size
    if size < 8:
      raise ValueError(f"it has {size} bytes, and is empty or cut short")
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _LONGEST:
      raise ValueError("it does not begin with the length of a header")
    if length > size - 8:
      raise ValueError(
        f"it ends before its header, which has {length} bytes, and is cut short"
      )
    text = file.read(length)
  try:
    # A repeated name is an error, too: it is ambiguous.
    header = _json.loads(text)
  except ValueError as error:
    raise ValueError(f"invalid JSON in header: {error}") from error
  if not isinstance(header, dict):
    raise ValueError("invalid JSON in header: it is no object")
  return header, 8 + length


def is_finite(tensor: np.ndarray) -> bool:
  """Returns whether all numbers of an array, of any dtype, are finite."""
  if not jnp.issubdtype(tensor.dtype, jnp.inexact):
    return True
  if tensor.dtype.kind == "c":
    return is_finite(tensor.real) and is_finite(tensor.imag)
  if tensor.dtype.itemsize == 2:
    # Compares bits, which is faster; bfloat16 has no minimum.
    infinity = np.asarray(np.inf, tensor.dtype).view(np.uint16)
    bits = tensor.view(np.uint16) & np.uint16(0x7FFF)
    return not tensor.size or bool(bits.max() < infinity)
  if tensor.dtype.kind != "f":
    # Narrower floats.
    tensor = tensor.astype(np.float32)
  if tensor.flags.c_contiguous and tensor.dtype.isnative:
    # The sum of squares is read fastest; finite numbers may overflow in it.
    flat = tensor.reshape(-1)
    with np.errstate(invalid="ignore", over="ignore"):
      if np.isfinite(np.dot(flat, flat)):
        return True
  # Two numbers suffice: no second array as large as the tensor.
  with np.errstate(invalid="ignore", over="ignore"):
    return not tensor.size or bool(
      np.isfinite(tensor.min()) and np.isfinite(tensor.max())
    )


def write(
  path: str | os.PathLike,
  tensors: Mapping[str, np.typing.ArrayLike],
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes arrays to a file, replacing an existing one atomically.

  Args:
    path: the file; its directory must exist.
    tensors: arrays by name.
    metadata: strings by name, stored in the header.

  Raises:
    ValueError: if an array has a dtype that the format lacks.
  """
  arrays = {}
  for name, tensor in tensors.items():
    array = np.asarray(tensor)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    # np.ascontiguousarray would convert scalars to vectors.
    arrays[name] = np.require(array, requirements="C")
  try:
    content = safetensors_numpy.save(arrays, dict(metadata or {}) or None)
  except (safetensors.SafetensorError, KeyError) as error:
    kinds = ", ".join(sorted({str(x.dtype) for x in arrays.values()}))
    raise ValueError(
      f"tensors: got dtypes {kinds}, expected those of the safetensors format "
      f"({error})."
    ) from error
  files.write_bytes(pathlib.Path(path), content)
