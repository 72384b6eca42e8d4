"""Rows of a feed-forward layer that are read from a file as they are needed.

Of a layer with rectified units, y = relu(x U^T + b) D, a token needs the rows
of the units that are active for it. They lie in a file, the row of U, that of D
and the bias of a unit side by side, for one read; those that were active in the
last `window` tokens stay in a buffer of fixed size. Alizadeh et al., "LLM in a
flash", arXiv:2312.11514, section 3. A deleted row's place is taken by the last
row of the buffer, and what comes in is appended.

The store works on the host: a compiled program cannot wait for a file. What it
counts are rows and bytes; how long reading takes says nothing where the system
keeps the file in memory anyway. Layers without ReLU, gated ones among them,
have no units that are off.
"""

import os
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq.training import files


class Counts(NamedTuple):
  """What one token moved.

  Attributes:
    loads: rows that were read.
    evictions: rows that were dropped.
    resident: rows in the buffer afterwards.
    bytes_read: of the file.
  """

  loads: int
  evictions: int
  resident: int
  bytes_read: int


def write(
  path: str | os.PathLike,
  up: np.ndarray,
  down: np.ndarray,
  bias: np.ndarray | None = None,
) -> None:
  """Writes the rows of a layer's units, for a `RowStore`.

  Args:
    path: the file, in NumPy's format.
    up: (units, d), from inputs to units.
    down: (units, d), from units to outputs.
    bias: (units,); zeros if None.

  Raises:
    ValueError: if shapes do not fit.
  """
  units, _ = _validate.shape("up", up, ("units", "d"))
  _validate.shape("down", down, up.shape)
  bias = np.zeros(units, up.dtype) if bias is None else bias
  _validate.shape("bias", bias, (units,))
  rows = np.concatenate([up, down, np.asarray(bias)[:, None]], axis=1)
  with files.replacing(pathlib.Path(path)) as file:
    np.save(file, rows)


def predicted(
  x: jax.Array,
  inner: jax.Array,
  outer: jax.Array,
  bias: jax.Array,
  threshold: float = 0.0,
) -> jax.Array:
  """Guesses by a product of low rank which units are active.

  Args:
    x: (..., d) inputs.
    inner: (d, rank).
    outer: (rank, units).
    bias: (units,).
    threshold: what a guess of the unit's input has to be above.

  Returns:
    (..., units) bool.
  """
  return x @ inner @ outer + bias > threshold


class RowStore:
  """Rows of a file, some of them in a buffer of the device."""

  def __init__(self, path: str | os.PathLike, capacity: int, window: int):
    """Opens a file that `write` made.

    Args:
      path: the file; it is mapped into memory, not read.
      capacity: number of rows that the buffer has place for.
      window: number of last tokens, the present one counted, whose rows stay.
    """
    self._rows = np.load(path, mmap_mode="r", allow_pickle=False)
    _validate.integer("capacity", capacity, 1)
    self.window = _validate.integer("window", window, 1)
    self._recent: list[np.ndarray] = []
    # The unit of each place, -1 for none.
    self.slots = np.full(capacity, -1)
    shape = capacity, self._rows.shape[1]
    self._buffer = jnp.zeros(shape, self._rows.dtype)

  def advance(self, active: np.ndarray) -> Counts:
    """Reads what a token needs that is not there, and drops what is old.

    Args:
      active: (units,) bool.

    Returns:
      What was moved.

    Raises:
      ValueError: if the rows of the window are more than the buffer holds;
        nothing is moved then.
    """
    _validate.shape("active", active, (len(self._rows),))
    recent = [*self._recent, np.asarray(active, bool)][-self.window :]
    wanted = np.any(recent, axis=0)
    if wanted.sum() > len(self.slots):
      expected = f"at least {wanted.sum()} for the rows of this window"
      raise _validate.error("capacity", len(self.slots), expected)
    self._recent = recent
    slots, used = self.slots.copy(), int((self.slots >= 0).sum())
    there = np.sort(slots[:used])
    evicted = there[~wanted[there]]
    source = np.arange(len(slots))
    for unit in evicted:
      hole, used = np.flatnonzero(slots[:used] == unit)[0], used - 1
      slots[hole], source[hole] = slots[used], source[used]
      slots[used] = -1
    loaded = np.setdiff1d(np.flatnonzero(wanted), there)
    places = used + np.arange(len(loaded))
    slots[places] = loaded
    read = np.asarray(self._rows[loaded])
    # Of few sizes, each of which is compiled once; what is beyond is dropped.
    more = (1 << max(0, len(loaded) - 1).bit_length()) - len(loaded)
    self._buffer = _updated(
      self._buffer,
      source,
      np.pad(places, (0, more), constant_values=len(slots)),
      np.pad(read, ((0, more), (0, 0))),
    )
    self.slots = slots
    return Counts(
      len(loaded), len(evicted), used + len(loaded), int(read.nbytes)
    )

  def __call__(self, x: jax.Array, active: np.ndarray) -> jax.Array:
    """Returns the layer's output for an input (d,), of the active units alone.

    Their rows must be there, by `advance`. With units that are left out though
    they are active, it is not the layer's output.
    """
    held = (self.slots >= 0) & np.asarray(active)[np.maximum(self.slots, 0)]
    return _feedforward(self._buffer, held, x)


@jax.jit
def _updated(buffer, source, places, rows):
  """The buffer with its rows moved, and others put in."""
  return buffer[source].at[places].set(rows, mode="drop")


@jax.jit
def _feedforward(buffer, held, x):
  """relu(x U^T + b) D over the places of a buffer that count."""
  width = x.shape[-1]
  up, down, bias = jnp.split(buffer, (width, 2 * width), axis=1)
  units = jax.nn.relu(up @ x + bias[:, 0])
  return jnp.where(held, units, 0) @ down
