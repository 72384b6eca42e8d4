"""A bounded store of what networks keep of prompts, least recently used."""

import collections
from typing import Any

import jax
import numpy as np

from jaxseq import _validate
from jaxseq._types import PyTree


class PrefixCache:
  """States of prompts by their tokens, within a number of bytes.

  What is stored is handed back as it is, so that a hit gives exactly what
  reading the tokens gave. Of all prompts that the tokens begin with, the
  longest is found. When there is no more room, what was not used for longest
  goes.

      cache = PrefixCache(2**28)
      cache.put(prompt, prefix)
      found = cache.get(longer_prompt)  # (len(prompt), prefix), or None

  Attributes:
    max_bytes: bytes of all arrays that are kept, at most.
    least: shortest beginning that `shared` finds.
    recent: number of prompts that `shared` compares with.
    hits: number of times that `get` has found something.
    misses: number of times that it has not.
    nbytes: bytes of the arrays that are kept.
  """

  def __init__(self, max_bytes: int, *, least: int = 16, recent: int = 64):
    """Returns an empty store.

    Raises:
      ValueError: if an argument is out of range.
    """
    _validate.all_positive(max_bytes=max_bytes, least=least, recent=recent)
    self.max_bytes = max_bytes
    self.least = least
    self.hits = self.misses = self.nbytes = 0
    self._kept: collections.OrderedDict[bytes, tuple[PyTree, int]] = (
      collections.OrderedDict()
    )
    self._lengths: collections.Counter[int] = collections.Counter()
    self._recent: collections.deque[np.ndarray] = collections.deque(
      maxlen=recent
    )
    self._owner: tuple[Any, list[Any]] | None = None

  def __len__(self) -> int:
    return len(self._kept)

  def claim(self, network: Any, variables: PyTree) -> None:
    """Says whose states are kept; an engine does so when it is made.

    Args:
      network: which reads the tokens.
      variables: of the network, the very arrays.

    Raises:
      ValueError: if the states that are kept are of another network, or of
        other variables.
    """
    owner = network, jax.tree.leaves(variables)
    if self._owner is not None:
      other, leaves = self._owner
      same = len(leaves) == len(owner[1]) and other == network
      if not same or any(a is not b for a, b in zip(leaves, owner[1])):
        raise _validate.error(
          "cache",
          "states of another network or of other variables",
          "a cache of its own, or `cache.clear()` before",
        )
    self._owner = owner

  def clear(self) -> None:
    """Forgets everything, also whose states they were."""
    self._kept.clear()
    self._lengths.clear()
    self._recent.clear()
    self._owner, self.nbytes = None, 0

  def get(self, tokens: np.ndarray) -> tuple[int, Any] | None:
    """Finds the longest kept beginning of some tokens.

    Args:
      tokens: (n,) integers.

    Returns:
      Its length and what was stored; None if there is none.
    """
    tokens = np.asarray(tokens, np.int32)
    for length in sorted(self._lengths, reverse=True):
      name = tokens[:length].tobytes()
      if length <= len(tokens) and name in self._kept:
        self._kept.move_to_end(name)
        self.hits += 1
        return length, self._kept[name][0]
    self.misses += 1
    return None

  def put(self, tokens: np.ndarray, value: PyTree) -> None:
    """Stores what is kept of some tokens; what is too large is left out.

    Args:
      tokens: (n,) integers.
      value: a pytree of arrays.
    """
    tokens = np.asarray(tokens, np.int32)
    name = tokens.tobytes()
    if name in self._kept:
      self._remove(name)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(value))
    if size > self.max_bytes:
      return
    while self.nbytes + size > self.max_bytes:
      self._remove(next(iter(self._kept)))
    self._kept[name] = value, size
    self._lengths[len(tokens)] += 1
    self.nbytes += size

  def shared(self, tokens: np.ndarray) -> int:
    """Returns how many tokens a prompt begins with as a recent one did.

    The prompt is among the recent ones afterwards. A beginning that comes a
    second time is worth an entry of its own.

    Args:
      tokens: (n,) integers.

    Returns:
      The most, at least `least`; or 0.
    """
    tokens = np.asarray(tokens, np.int32)
    best = 0
    for other in self._recent:
      count = min(len(tokens), len(other))
      differ = np.flatnonzero(tokens[:count] != other[:count])
      best = max(best, int(differ[0]) if len(differ) else count)
    self._recent.append(tokens)
    return best if best >= self.least else 0

  def _remove(self, name):
    """Removes an entry."""
    _, size = self._kept.pop(name)
    self.nbytes -= size
    length = len(name) // 4
    self._lengths[length] -= 1
    if not self._lengths[length]:
      del self._lengths[length]
