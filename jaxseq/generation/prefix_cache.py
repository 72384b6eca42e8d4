"""A bounded cache of networks' prompt states, least recently used first out."""

import collections
import logging
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import validate
from jaxseq.generation import _unused
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork

# Bytes of an entry beside its tokens and arrays.
_ENTRY = 256
# Tokens are hashed by the powers of an odd number.
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class _Entry(NamedTuple):
  """A cached prompt."""

  tokens: np.ndarray  # int32
  value: PyTree
  size: int  # Bytes of the whole entry.


class PrefixCache:
  """States of prompts by their tokens, within a number of bytes.

  Stored arrays are returned unchanged, so that a hit gives exactly the results
  of reading the tokens. The longest cached prefix of the tokens is returned. If
  there is no more room, the entries that were not used for the longest time are
  evicted.

      cache = PrefixCache(2**28)
      cache.put(prompt, prefix)
      found = cache.get(longer_prompt)  # (len(prompt), prefix), or None

  Attributes:
    max_bytes: maximum number of bytes of all cached arrays and tokens.
    least: minimum length of a prefix that `shared` returns.
    recent: maximum number of prompts that `shared` compares with; they take at
      most a quarter of the bytes.
    hits: number of times that `get` has found a prefix.
    misses: number of times that it has not.
    refused: number of times that `put` got an entry larger than `max_bytes`.
    nbytes: number of cached bytes.
  """

  def __init__(self, max_bytes: int, *, least: int = 16, recent: int = 64):
    """Returns an empty store.

    Raises:
      ValueError: if an argument is out of range.
    """
    validate.all_positive(max_bytes=max_bytes, least=least, recent=recent)
    self.max_bytes = max_bytes
    self.least = least
    self.hits = self.misses = self.refused = self.nbytes = 0
    # By the adapters' digests, their lengths and hashes, in order of their last
    # use.
    self._kept: collections.OrderedDict[tuple[bytes, int, int], _Entry]
    self._kept = collections.OrderedDict()
    # Number of entries of each length.
    self._lengths: collections.Counter[int] = collections.Counter()
    self._recent: collections.deque[tuple[bytes, np.ndarray]]
    self._recent = collections.deque()
    self.recent = recent
    self._owner: tuple[Any, list[Any]] | None = None

  def __len__(self) -> int:
    return len(self._kept)

  def claim(self, network: TokenNetwork, variables: PyTree) -> None:
    """Sets the network of the cached states; an engine calls it.

    Args:
      network: network that reads the tokens.
      variables: variables of the network, the same arrays.

    Raises:
      ValueError: if the cached states belong to another network, or to other
        variables.
    """
    owner = network, jax.tree.leaves(variables)
    if self._owner is not None:
      other, leaves = self._owner
      same = len(leaves) == len(owner[1]) and other == network
      if not same or any(a is not b for a, b in zip(leaves, owner[1])):
        raise validate.error(
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

  def get(
    self, tokens: np.ndarray, digest: bytes = b""
  ) -> tuple[int, Any] | None:
    """Returns the longest cached prefix of some tokens.

    Args:
      tokens: (n,) integers.
      digest: digest of the network's adapter, `adapt.batch.digest`; entries
        with another digest are not found.

    Returns:
      Its length and the stored value; None if there is none.
    """
    tokens = np.asarray(tokens, np.int32)
    hashes = _hashes(tokens)
    for length in sorted(self._lengths, reverse=True):
      name = digest, length, int(hashes[min(length, len(tokens))])
      entry = self._kept.get(name)
      if entry and np.array_equal(entry.tokens, tokens[:length]):
        self.hits += 1
        self._kept.move_to_end(name)
        return length, _unused.whole(entry.value)
    self.misses += 1
    return None

  def put(self, tokens: np.ndarray, value: PyTree, digest: bytes = b"") -> None:
    """Stores the value of some tokens, unless it is too large.

    Args:
      tokens: (n,) integers.
      value: a pytree of arrays.
      digest: see `get`.
    """
    tokens = np.array(tokens, np.int32)
    value = _unused.cut(value)
    parts = jax.tree.leaves(value, is_leaf=_unused.is_cut)
    size = sum(leaf.nbytes for leaf in parts)
    if size + tokens.nbytes + _ENTRY > self.max_bytes:
      if not self.refused:
        logging.warning(
          "A prompt's state of %d bytes has no room in a PrefixCache of %d.",
          *(size, self.max_bytes),
        )
      self.refused += 1
      return
    name = digest, len(tokens), int(_hashes(tokens)[-1])
    self._drop(name)
    entry = _Entry(tokens, value, size + tokens.nbytes + _ENTRY)
    self._kept[name] = entry
    self._lengths[len(tokens)] += 1
    self.nbytes += entry.size
    self._fit()

  def shared(self, tokens: np.ndarray, digest: bytes = b"") -> int:
    """Returns the length of the longest prefix shared with a recent prompt.

    The prompt is among the recent ones afterwards. A prefix that occurs a
    second time is worth a separate entry.

    Args:
      tokens: (n,) integers.
      digest: see `get`.

    Returns:
      The length, at least `least`; or 0.
    """
    tokens = np.asarray(tokens, np.int32)
    best = 0
    for owner, other in self._recent:
      if owner != digest:
        continue
      count = min(len(tokens), len(other))
      differ = np.flatnonzero(tokens[:count] != other[:count])
      best = max(best, int(differ[0]) if len(differ) else count)
    self._recent.append((digest, tokens))
    self.nbytes += tokens.nbytes
    while len(self._recent) > self.recent or (
      4 * sum(other.nbytes for _, other in self._recent) > self.max_bytes
    ):
      self.nbytes -= self._recent.popleft()[1].nbytes
    self._fit()
    return best if best >= self.least else 0

  def _drop(self, name):
    """Removes an entry, if it exists."""
    entry = self._kept.pop(name, None)
    if entry is not None:
      self.nbytes -= entry.size
      self._lengths[name[1]] -= 1
      self._lengths += collections.Counter()

  def _fit(self):
    """Evicts the least recently used entries until there is room."""
    while self.nbytes > self.max_bytes:
      if len(self._kept) < 2 and self._recent:
        self.nbytes -= self._recent.popleft()[1].nbytes
      else:
        self._drop(next(iter(self._kept)))


def _hashes(tokens):
  """Hashes of the prefixes of some tokens, (n + 1,) uint64."""
  powers = np.cumprod(np.full(len(tokens), _FACTOR))
  terms = (tokens.astype(np.uint64) + np.uint64(1)) * powers
  return np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
