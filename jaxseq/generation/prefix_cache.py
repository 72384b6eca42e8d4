"""A bounded store of what networks keep of prompts, least recently used."""

import collections
import dataclasses
import logging
from typing import Any

import jax
import numpy as np

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.generation import _unused

# Bytes of a node of the tree beside its tokens.
_NODE = 256


@dataclasses.dataclass(eq=False)
class _Node:
  """A node of the tree of kept prompts, in which beginnings are shared.

  Attributes:
    edge: tokens behind those of the node above, as bytes of int32.
    above: the node above; None for the root.
    below: the nodes below, by the first tokens of their edges.
    value: what is kept of the tokens up to here; None for nothing.
    size: bytes of that.
  """

  edge: bytes = b""
  above: "_Node | None" = None
  below: dict[bytes, "_Node"] = dataclasses.field(default_factory=dict)
  value: PyTree = None
  size: int = 0


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
    max_bytes: bytes of all arrays and tokens that are kept, at most.
    least: shortest beginning that `shared` finds.
    recent: number of prompts that `shared` compares with, at most; they take a
      quarter of the bytes, at most.
    hits: number of times that `get` has found something.
    misses: number of times that it has not.
    refused: number of times that `put` got what is too large for any room.
    nbytes: bytes that are kept.
  """

  def __init__(self, max_bytes: int, *, least: int = 16, recent: int = 64):
    """Returns an empty store.

    Raises:
      ValueError: if an argument is out of range.
    """
    _validate.all_positive(max_bytes=max_bytes, least=least, recent=recent)
    self.max_bytes = max_bytes
    self.least = least
    self.hits = self.misses = self.refused = self.nbytes = 0
    self._root = _Node()
    # Nodes with something to keep, those that were used last behind the others.
    self._kept: collections.OrderedDict[_Node, None] = collections.OrderedDict()
    self._recent: collections.deque[np.ndarray] = collections.deque()
    self.recent = recent
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
    self._root = _Node()
    self._kept.clear()
    self._recent.clear()
    self._owner, self.nbytes = None, 0

  def get(self, tokens: np.ndarray) -> tuple[int, Any] | None:
    """Finds the longest kept beginning of some tokens.

    Args:
      tokens: (n,) integers.

    Returns:
      Its length and what was stored; None if there is none.
    """
    name = np.asarray(tokens, np.int32).tobytes()
    node: _Node | None = self._root
    place, best = 0, None
    while node is not None and name.startswith(node.edge, place):
      place += len(node.edge)
      if node in self._kept:
        best = place // 4, node
      node = node.below.get(name[place : place + 4])
    if best is None:
      self.misses += 1
      return None
    self.hits += 1
    length, node = best
    self._kept.move_to_end(node)
    return length, _unused.whole(node.value)

  def put(self, tokens: np.ndarray, value: PyTree) -> None:
    """Stores what is kept of some tokens; what is too large is left out.

    Args:
      tokens: (n,) integers.
      value: a pytree of arrays.
    """
    name = np.asarray(tokens, np.int32).tobytes()
    value = _unused.cut(value)
    parts = jax.tree.leaves(value, is_leaf=_unused.is_cut)
    size = sum(leaf.nbytes for leaf in parts)
    if size + len(name) + _NODE > self.max_bytes:
      if not self.refused:
        logging.warning(
          "A prompt's state of %d bytes has no room in a PrefixCache of %d.",
          *(size, self.max_bytes),
        )
      self.refused += 1
      return
    node = self._node(name)
    self.nbytes += size - node.size
    node.value, node.size = value, size
    self._kept[node] = None
    self._kept.move_to_end(node)
    self._fit()

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
    self.nbytes += tokens.nbytes
    while len(self._recent) > self.recent or (
      4 * sum(other.nbytes for other in self._recent) > self.max_bytes
    ):
      self.nbytes -= self._recent.popleft().nbytes
    self._fit()
    return best if best >= self.least else 0

  def _node(self, name):
    """The node of some tokens, made if it is not there."""
    node, place = self._root, 0
    while place < len(name):
      child = node.below.get(name[place : place + 4])
      if child is None:
        child = _Node(name[place:], node)
        self.nbytes += _NODE + len(child.edge)
      elif not name.startswith(child.edge, place):
        child = self._split(child, name[place : place + len(child.edge)])
      node.below[child.edge[:4]] = child
      node, place = child, place + len(child.edge)
    return node

  def _split(self, node, tokens):
    """A new node above one, where its edge goes other ways than the tokens."""
    count = len(tokens) // 4
    edge, other = (
      np.frombuffer(node.edge, np.int32),
      np.frombuffer(tokens, np.int32),
    )
    differ = np.flatnonzero(edge[:count] != other)
    shared = 4 * int(differ[0] if len(differ) else count)
    upper = _Node(node.edge[:shared], node.above)
    node.edge, node.above = node.edge[shared:], upper
    upper.below[node.edge[:4]] = node
    self.nbytes += _NODE
    return upper

  def _fit(self):
    """Lets go what was not used for longest, until there is room."""
    while self.nbytes > self.max_bytes:
      if len(self._kept) < 2 and self._recent:
        self.nbytes -= self._recent.popleft().nbytes
        continue
      node, _ = self._kept.popitem(last=False)
      self.nbytes -= node.size
      node.value, node.size = None, 0
      while node.above and not node.below and node not in self._kept:
        above = node.above
        del above.below[node.edge[:4]]
        self.nbytes -= _NODE + len(node.edge)
        node = above
      self._join(node)

  def _join(self, node):
    """Makes one of a node that keeps nothing and the only one below it."""
    if node.above and len(node.below) == 1 and node not in self._kept:
      (child,) = node.below.values()
      child.edge, child.above = node.edge + child.edge, node.above
      node.above.below[child.edge[:4]] = child
      self.nbytes -= _NODE
