"""Slots of neurons in a flat buffer of rows.

The window of Alizadeh et al., "LLM in a flash", arXiv:2312.11514, section 3.1
and 3.3: neurons that were active for one of the last tokens stay, the others
are dropped, and only the last rows move, to fill the holes.
"""

from typing import NamedTuple

import numpy as np


class Changes(NamedTuple):
  """Changes of the buffer for a token, in the order of execution.

  Attributes:
    moves: (n, 2) integers, source and target slots of moved rows.
    loads: (m,) integers, ascending, the neurons whose rows are read into the
      last used slots of the buffer.
    evictions: number of dropped rows.
  """

  moves: np.ndarray
  loads: np.ndarray
  evictions: int


class RowWindow:
  """The neurons that were active for one of the last tokens.

  Attributes:
    slots: (capacity,) integers, the neuron of each slot's row.
    used: number of leading slots that contain a row.
  """

  def __init__(self, neurons: int, capacity: int, window: int):
    """Creates an empty buffer.

    Args:
      neurons: number of neurons.
      capacity: number of slots.
      window: number of tokens, including the current one, whose active neurons
        stay.
    """
    self.slots = np.full(capacity, -1)
    self.used = 0
    self._window = window
    # The slot of each neuron, -1 if it has none, and the last token that needed
    # it.
    self._slot_of = np.full(neurons, -1)
    self._last = np.full(neurons, -1)
    self._token = -1

  def resident(self, neurons: np.ndarray) -> np.ndarray:
    """Flags the neurons that have a slot, bool."""
    return self._slot_of[neurons] >= 0

  def update(self, needed: np.ndarray) -> Changes:
    """Advances to the next token.

    If there is no room, the least recently needed neurons are dropped early,
    and only as many needed neurons get a slot as fit.

    Args:
      needed: (neurons,) bool, the active neurons of the token.
    """
    self._token += 1
    self._last[needed] = self._token
    present = np.sort(self.slots[: self.used])
    stays = self._last[present] > self._token - self._window
    loads = np.flatnonzero(needed & (self._slot_of < 0))
    kept = present[stays]
    excess = len(kept) + len(loads) - len(self.slots)
    if excess > 0:
      # Neurons needed now stay: they are last in this order.
      oldest = kept[np.argsort(self._last[kept], kind="stable")]
      spare = oldest[: np.count_nonzero(self._last[kept] < self._token)]
      stays &= ~np.isin(present, spare[:excess])
      loads = loads[: len(self.slots) - np.count_nonzero(stays)]
    evicted = present[~stays]
    moves = self._drop(evicted)
    new = np.arange(self.used, self.used + len(loads))
    self.slots[new], self._slot_of[loads] = loads, new
    self.used += len(loads)
    return Changes(moves, loads, len(evicted))

  def _drop(self, evicted):
    """Drops neurons; returns the moves that fill their slots."""
    moves = []
    for neuron in evicted:
      hole, last = self._slot_of[neuron], self.used - 1
      self._slot_of[neuron] = -1
      if hole != last:
        moved = self.slots[last]
        self.slots[hole], self._slot_of[moved] = moved, hole
        moves.append((last, hole))
      self.slots[last] = -1
      self.used = last
    return np.array(moves, int).reshape(-1, 2)
