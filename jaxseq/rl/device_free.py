"""gymnax, imported without the use of a device.

gymnax 1.0.1 makes an array as soon as it is imported (the directions of
FrozenLake). That would fix the number of devices, and keep the process from
joining others, before the program has read its flags. Here such arrays stay on
the host until they are indexed. `jaxseq.rl` imports this before anything else.
"""

from typing import Any

import flax.struct  # noqa: F401, what gymnax imports must not meet `_table`
import jax
import jax.numpy as jnp
import numpy as np


class _Table(np.ndarray):
  """Constants on the host, which an index takes to the device."""

  def __getitem__(self, index):
    return jnp.asarray(self.view(np.ndarray))[index]


def _table(values: Any, dtype: Any = None) -> _Table:
  array = np.asarray(values, dtype)
  canonical = jax.dtypes.canonicalize_dtype(array.dtype)
  return array.astype(canonical).view(_Table)


_make_array = jnp.array
try:
  jnp.array = _table
  import gymnax  # noqa: F401
finally:
  jnp.array = _make_array
