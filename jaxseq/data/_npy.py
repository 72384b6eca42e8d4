"""Arrays in .npy files and .npz archives, read within memory bounds.

NumPy's own reader evaluates the header as Python, and allocates memory for any
shape in it. Here the header must have the one form that NumPy and others write,
and the number of bytes must match it before they are read.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

import io
import math
import os
import re
import struct
from typing import BinaryIO
from typing import NamedTuple
import zipfile
import zlib

import numpy as np

from jaxseq import limits

_MAGIC = b"\x93NUMPY"
# The longest header that NumPy reads by default.
_LONGEST = 10_000
_HEADER = re.compile(
  r"\{\s*'descr'\s*:\s*'([<>|=]?[a-zA-Z?][0-9]{0,6})'\s*,"
  r"\s*'fortran_order'\s*:\s*(True|False)\s*,"
  r"\s*'shape'\s*:\s*\(((?:[0-9]{1,15},)?|[0-9]{1,15}(?:, ?[0-9]{1,15})+,?)\)"
  r"\s*,?\s*\}\s*"
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Errors of `zipfile` for archives that are damaged or of other kinds.
DAMAGE = (
  *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError),
  *(RuntimeError, OverflowError, OSError, ValueError),
)


class Header(NamedTuple):
  """The header of an .npy file.

  Attributes:
    shape: shape of the array.
    dtype: dtype of the array.
    order: "C" by rows, or "F" by columns.
    size: number of bytes of the array after the header.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  order: str
  size: int


def read_header(file: BinaryIO, kinds: str = "biufSU") -> Header:
  """Returns the header of an .npy file; its dtype must be one of `kinds`."""
  start = file.read(8)
  if (
    len(start) < 8
    or start[:6] != _MAGIC
    or start[6:] not in (*(b"\1\0", b"\2\0", b"\3\0"),)
  ):
    raise ValueError("it does not begin as an .npy file")
  form = "<H" if start[6] == 1 else "<I"
  length = file.read(struct.calcsize(form))
  if len(length) < struct.calcsize(form):
    raise ValueError("it ends in its header")
  (count,) = struct.unpack(form, length)
  if count > _LONGEST:
    raise ValueError(f"its header has {count} bytes")
  text = file.read(count).decode("latin1")
  match = _HEADER.fullmatch(text)
  if match is None:
    raise ValueError(f"its header is {text[:80]!r}")
  code, by_columns, sizes = match.groups()
  shape = tuple(int(size) for size in sizes.split(",") if size.strip())
  try:
    dtype = np.dtype(code)
  except TypeError as error:
    raise ValueError(f"its dtype is {code!r}") from error
  if dtype.kind not in kinds or not dtype.itemsize or len(shape) > 32:
    raise ValueError(f"it is an array {shape} of {dtype}")
  order = "F" if by_columns == "True" else "C"
  return Header(shape, dtype, order, math.prod(shape) * dtype.itemsize)


def open_map(path: str | os.PathLike) -> np.ndarray:
  """Returns a file's array as a read-only memory map."""
  with open(path, "rb", opener=limits.regular) as file:
    header = read_header(file)
    start = file.tell()
  left = os.path.getsize(path) - start
  if left != header.size:
    raise ValueError(
      f"it has {left} bytes behind its header, which says {header.size}"
    )
  if not header.size:
    return np.zeros(header.shape, header.dtype)
  return np.memmap(
    path, header.dtype, "r", start, header.shape, order=header.order
  )


def read_archive(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Returns the arrays of an .npz archive by name, their checksums verified."""
  with open(path, "rb", opener=limits.regular) as file:
    held = os.fstat(file.fileno()).st_size
    try:
      with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        limits.check_growth(path, size, held)
        arrays = {}
        for member in members:
          name, array = _member(archive, member)
          if name in arrays:
            raise ValueError(f"it holds {name[:80]!r} twice")
          arrays[name] = array
        return arrays
    except DAMAGE as error:
      raise ValueError(f"{path} is no whole .npz archive: {error}.") from error


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
  """Reads a member whose size was checked; raises one of `DAMAGE`."""
  # Other methods allocate memory by what their headers ask for.
  if member.compress_type not in _METHODS:
    raise ValueError(f"{member.filename[:80]!r} is compressed in another way")
  return archive.read(member)


def _member(archive, member):
  """Returns the name and the array of a member of an archive."""
  name = member.filename
  if not name.endswith(".npy"):
    raise ValueError(f"{name[:80]!r} is no array")
  content = read_member(archive, member)
  file = io.BytesIO(content)
  header = read_header(file)
  start = file.tell()
  if len(content) - start != header.size:
    raise ValueError(f"{name[:80]!r} is not as long as its header says")
  array = np.frombuffer(content, header.dtype, offset=start)
  array = array.reshape(header.shape, order=header.order)
  # A copy is writable, as arrays that were not read from a file.
  return name.removesuffix(".npy"), array.copy(order="K")
