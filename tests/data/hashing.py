"""Whether two sets share a sequence."""

import hashlib

import numpy as np


def row_hashes(array: np.ndarray) -> list[bytes]:
  """Returns a hash of every row's shape, dtype and bytes.

  Args:
    array: (n, ...) of any dtype.

  Returns:
    n digests of 16 bytes.
  """
  array = np.ascontiguousarray(array)
  prefix = f"{array.dtype.str}{array.shape[1:]}".encode()
  return [
    hashlib.blake2b(prefix + row.tobytes(), digest_size=16).digest()
    for row in array
  ]


def shared_rows(first: np.ndarray, second: np.ndarray) -> int:
  """Counts the rows of `second` that occur in `first`.

  Args:
    first: (n, ...).
    second: (m, ...), of the same dtype and row shape.

  Returns:
    The number of rows, each counted as often as it is there.
  """
  known = set(row_hashes(first))
  return sum(digest in known for digest in row_hashes(second))
