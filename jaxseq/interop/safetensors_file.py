"""Files of named arrays in the safetensors format.

The package `safetensors` reads and writes them; here a damaged file is one
clear sentence, and a file is replaced as a whole.
"""

from collections.abc import Mapping
import os
import pathlib

import numpy as np

from jaxseq.training import files

try:
  import safetensors
  from safetensors import numpy as safetensors_numpy
except ImportError as error:
  raise ModuleNotFoundError(
    "weights of other libraries are read and written by safetensors: "
    'pip install "jaxseq[interop]".',
    name="safetensors",
  ) from error


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads the arrays of a file.

  Args:
    path: the file.

  Returns:
    The arrays by name; bfloat16 is that of ml_dtypes.

  Raises:
    ValueError: if the file is not in the format or damaged, or an array has a
      dtype that NumPy and ml_dtypes do not know.
    FileNotFoundError: if there is no such file.
  """
  try:
    return safetensors_numpy.load_file(path)
  except (safetensors.SafetensorError, AttributeError, KeyError) as error:
    raise ValueError(
      f"{path} is no safetensors file, or is damaged: {error}."
    ) from error


def write(
  path: str | os.PathLike,
  tensors: Mapping[str, np.typing.ArrayLike],
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes arrays to a file, which is replaced as a whole if it is there.

  Args:
    path: the file; its directory must be there.
    tensors: arrays by name.
    metadata: strings by name, kept in the header.

  Raises:
    ValueError: if an array has a dtype that the format has not.
  """
  arrays = {}
  for name, tensor in tensors.items():
    array = np.asarray(tensor)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    # Not np.ascontiguousarray, which makes vectors of scalars.
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
