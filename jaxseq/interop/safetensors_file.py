"""Files of named arrays in the safetensors format, read without copies.

A file is the length of a header as 8 bytes, the header as JSON, and the arrays'
bytes, little-endian, row-major and without gaps. The header gives for each name
the dtype, the shape and the range of bytes
(https://github.com/huggingface/safetensors, "Format"). Unlike that package's
reader for NumPy this one knows bfloat16, in which most models are published.
"""

from collections.abc import Mapping
import json
import math
import os
import pathlib
import struct
import tempfile
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxseq import _validate

_DTYPES = {
  "BOOL": np.dtype(bool),
  "U8": np.dtype("<u1"),
  "I8": np.dtype("<i1"),
  "U16": np.dtype("<u2"),
  "I16": np.dtype("<i2"),
  "U32": np.dtype("<u4"),
  "I32": np.dtype("<i4"),
  "U64": np.dtype("<u8"),
  "I64": np.dtype("<i8"),
  "F16": np.dtype("<f2"),
  "BF16": np.dtype(jnp.bfloat16),
  "F32": np.dtype("<f4"),
  "F64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
# The format's own limit on the header, in bytes.
_LONGEST_HEADER = 100_000_000


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Maps the arrays of a file into memory.

  Args:
    path: the file.

  Returns:
    The arrays by name: read-only views of the file, which must stay as it is
    for as long as they are used.

  Raises:
    ValueError: if the file is not in the format, or an array has a dtype that
      NumPy and ml_dtypes do not know.
    FileNotFoundError: if there is no such file.
  """
  path = pathlib.Path(path)
  size = path.stat().st_size
  header, start = _read_header(path, size)
  header.pop("__metadata__", None)
  entries = {
    name: _parse_entry(path, name, entry) for name, entry in header.items()
  }
  _check_ranges(path, entries, size - start)
  data = np.memmap(path, np.uint8, "r")
  return {
    name: np.frombuffer(
      data, dtype, count=math.prod(shape), offset=start + begin
    ).reshape(shape)
    for name, (dtype, shape, begin, _) in entries.items()
  }


def write(
  path: str | os.PathLike,
  tensors: Mapping[str, Any],
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes arrays to a file, which is replaced as a whole if it is there.

  Args:
    path: the file; its directory must be there.
    tensors: arrays by name, of any dtype that `read` knows.
    metadata: strings by name, kept in the header.

  Raises:
    ValueError: if an array has another dtype.
  """
  path = pathlib.Path(path)
  arrays = {}
  for name, tensor in tensors.items():
    array = np.asarray(tensor)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    _validate.choice(f"tensor {name!r}", array.dtype, _NAMES)
    # Not np.ascontiguousarray, which makes vectors of scalars.
    arrays[name] = np.require(array, requirements="C")
  # Wide dtypes first keep every array aligned.
  order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
  header: dict[str, Any] = {}
  if metadata:
    header["__metadata__"] = dict(metadata)
  end = 0
  for name in order:
    array = arrays[name]
    begin, end = end, end + array.nbytes
    header[name] = {
      "dtype": _NAMES[array.dtype],
      "shape": array.shape,
      "data_offsets": (begin, end),
    }
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)
  # A reader sees the old file or all of this one.
  handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
  try:
    with os.fdopen(handle, "wb") as file:
      file.write(struct.pack("<Q", len(text)))
      file.write(text)
      for name in order:
        file.write(arrays[name].tobytes())
    # mkstemp's files are for their owner alone.
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(partial, 0o666 & ~mask)
    os.replace(partial, path)
  except BaseException:
    os.unlink(partial)
    raise


def _read_header(path, size):
  """Returns the header as a dict, and where the data begin."""
  with open(path, "rb") as file:
    prefix = file.read(8)
    if len(prefix) < 8:
      raise ValueError(
        f"{path} is no safetensors file: it has {len(prefix)} bytes, too few "
        "for a header."
      )
    (length,) = struct.unpack("<Q", prefix)
    if length > min(size - 8, _LONGEST_HEADER):
      raise ValueError(
        f"{path} is no safetensors file or is cut off: its header should have "
        f"{length} bytes, the file has {size}."
      )
    text = file.read(length)
  try:
    header = json.loads(text)
  except ValueError as error:
    raise ValueError(
      f"{path} is no safetensors file: its header is not JSON ({error})."
    ) from error
  if not isinstance(header, dict):
    raise ValueError(
      f"{path} is no safetensors file: its header: got "
      f"{type(header).__name__}, expected a JSON object."
    )
  return header, 8 + length


def _parse_entry(path, name, entry):
  """Returns dtype, shape, begin and end of one array."""
  try:
    kind, shape = entry["dtype"], tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    whole = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
  except (KeyError, TypeError, ValueError):
    whole = False
  if not whole:
    raise ValueError(
      f"{path}: the header's entry of tensor {name!r}: got {entry!r}, expected "
      "dtype, shape and data_offsets."
    )
  _validate.choice(f"{path}: tensor {name!r}", kind, _DTYPES)
  dtype = _DTYPES[kind]
  if end - begin != math.prod(shape) * dtype.itemsize:
    raise ValueError(
      f"{path}: tensor {name!r} of shape {shape} and dtype {kind} must have "
      f"{math.prod(shape) * dtype.itemsize} bytes; its data_offsets "
      f"{begin}, {end} leave {end - begin}."
    )
  return dtype, shape, begin, end


def _check_ranges(path, entries, size):
  """Checks that the arrays fill the data without gaps and overlaps."""
  at = 0
  for name, (_, _, begin, end) in sorted(
    entries.items(), key=lambda item: item[1][2:]
  ):
    if begin != at:
      raise ValueError(
        f"{path}: tensor {name!r} must begin at byte {at} of the data, where "
        f"the one before it ends; it begins at {begin}."
      )
    at = end
  if at != size:
    raise ValueError(
      f"{path} is damaged or cut off: its tensors have {at} bytes, the file "
      f"has {size} for them."
    )
