"""Users whose items arrive one by one, in constant time and memory.

    users = item_streams.Users(network, variables)
    users.fill(["anna", "bert"], histories)
    users.update("anna", item)
    best, scores = users.recommend(["anna"], k=10)

A network reads the newest `length` items of a history, as in evaluation and
prediction, and returns the same scores. Up to `length` items each user has a
state, which is updated with each item; after that the newest items are read
again when a recommendation is requested.
"""

import collections
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterator
from collections.abc import Sequence
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.tasks.recommendation import network as item_network
from jaxseq.types import PyTree

# Maximum number of scores, and of elements of histories, at once.
_SCORES = 2**24
_ELEMENTS = 2**14
# Initial capacity: programs are compiled for each capacity.
_USERS = 64


class Users:
  """Users and their states, in rows of arrays that grow by doubling.

  Args:
    network: the network.
    variables: variables of the network.
    most: maximum number of users. A new one replaces the least recently used;
      None for no limit.
    forget: called with the name of each user who is removed.
  """

  def __init__(
    self,
    network: item_network.ItemNetwork,
    variables: PyTree,
    most: int | None = None,
    forget: Callable[[Hashable], Any] | None = None,
  ):
    if most is not None:
      validate.positive("most", most)
    if network.masked:
      expected = "False: a network that sees both sides keeps no states"
      raise validate.error("masked", True, expected)
    if network.rebuilds:
      expected = "False: a whole history is rebuilt"
      raise validate.error("rebuilds", True, expected)
    if network.config.stack.scan_layers:
      expected = "False: every layer has its own states of the users"
      raise validate.error("scan_layers", True, expected)
    network, variables = network.freeze(variables)
    self.network, self.variables = network, jax.device_put(variables)
    self._most, self._forget = most, forget
    # The least recent user comes first.
    self._rows: dict[Hashable, int] = {}
    self._seen: list[set[int]] = []
    # The newest items with the gaps before them, and rows whose features are
    # out of date.
    self._newest: list[collections.deque[tuple[int, float | None]]] = []
    self._stale: set[int] = set()
    self._arrays = self._fresh(_USERS)

  def __len__(self) -> int:
    return len(self._rows)

  def __contains__(self, user: Hashable) -> bool:
    return user in self._rows

  def seen(self, user: Hashable) -> set[int]:
    """Returns the items of a user, counted from 1."""
    return self._seen[self._rows[user]]

  def fill(
    self,
    users: Sequence[Hashable],
    histories: Sequence[Sequence[int] | np.ndarray],
    gaps: Sequence[Sequence[float] | np.ndarray] | None = None,
  ) -> None:
    """Adds new users with their histories.

    Args:
      users: their names.
      histories: per user, the items (n_i,), from 1 on, at least one.
      gaps: per user, (n_i,) times before the items, if the network reads them.

    Raises:
      ValueError: if a user exists already, or comes twice, or there are more
        than `most`.
    """
    for user, count in collections.Counter(users).items():
      if user in self or count > 1:
        raise validate.error("users", user, "new ones, each once")
    if self._most is not None and len(users) > self._most:
      raise validate.error("users", len(users), f"at most {self._most}")
    arrays = self.network, self.variables, histories, gaps
    for some, features, states in _read_all(*arrays):
      rows = np.array([self._row(users[n]) for n in some])
      self._put(rows, features, states)
      for row, n in zip(rows, some):
        items = list(map(int, histories[n]))
        between = [None] * len(items) if gaps is None else gaps[n]
        self._seen[row].update(items)
        self._newest[row].extend(zip(items, between))

  def update(self, user: Hashable, item: int, gap: float | None = None) -> None:
    """Reads one more item of a user, who may be new.

    Args:
      user: name.
      item: from 1 on.
      gap: time before the item, if the network reads gaps.
    """
    validate.integer("item", item, 1, self.network.num_items)
    if self.network.gaps and gap is None:
      raise validate.error("gap", None, "that of the item, as in training")
    row = self._row(user)
    self._seen[row].add(item)
    whole = len(self._newest[row]) == self.network.length
    self._newest[row].append((item, gap))
    if whole:
      # The state includes an item outside of the newest `length`.
      self._stale.add(row)
      return
    gap = None if gap is None else np.float32(gap)
    self._arrays = _advance(
      self.network, self.variables, self._arrays, row, item, gap
    )

  def recommend(
    self,
    users: Sequence[Hashable],
    k: int = 10,
    repeats: bool = False,
    allowed: Sequence[int] | np.ndarray | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best items of users, (n, k) from 0 on, and their scores.

    Args:
      users: names of known users.
      k: number of items per user.
      repeats: whether items of the history may be recommended.
      allowed: items, counted from 0, that may be recommended; all if None.

    Returns:
      The items, the best first, and log probabilities among all items; -inf
      if no item is left.

    Raises:
      ValueError: if a user is unknown.
    """
    for user in users:
      if user not in self:
        raise validate.error("users", user, "one that has taken something")
    rows = np.array([self._row(user) for user in users], int)
    self._refresh(rows)
    taken = [() if repeats else self._seen[row] for row in rows]
    features = jnp.take(self._arrays[0], rows, axis=0)
    return best(self.network, self.variables, features, taken, k, allowed)

  def _refresh(self, rows):
    """Reads the newest items of rows whose features are out of date."""
    stale = np.array(sorted(self._stale.intersection(rows.tolist())), int)
    if not len(stale):
      return
    pairs = [list(zip(*self._newest[row])) for row in stale]
    items = [np.array(one, np.int32) for one, _ in pairs]
    gaps = None
    if self.network.gaps:
      gaps = [np.array(between, np.float32) for _, between in pairs]
    arrays = self.network, self.variables, items, gaps
    for some, features, states in _read_all(*arrays):
      self._put(stale[some], features, states)
    self._stale.difference_update(stale.tolist())

  def _put(self, rows, features, states):
    """Sets the features and states of rows."""
    self._arrays = jax.tree.map(
      lambda every, new: every.at[rows].set(new),
      self._arrays,
      (features, states),
    )

  def _row(self, user):
    """The row of a user, who becomes the most recently used one."""
    row = self._rows.pop(user, None)
    if row is None and len(self._rows) == self._most:
      row = self._emptied()
    elif row is None:
      row = len(self._rows)
      if row == len(self._arrays[0]):
        self._arrays = jax.tree.map(
          lambda one, two: jnp.concatenate([one, two]),
          self._arrays,
          self._fresh(row),
        )
      self._seen.append(set())
      self._newest.append(collections.deque(maxlen=self.network.length))
    self._rows[user] = row
    return row

  def _emptied(self):
    """The cleared row of the least recently used user, who is removed."""
    user = next(iter(self._rows))
    row = self._rows.pop(user)
    if self._forget is not None:
      self._forget(user)
    self._seen[row] = set()
    self._newest[row].clear()
    self._stale.discard(row)
    self._arrays = _cleared(self._arrays, self._fresh(1), row)
    return row

  def _fresh(self, count):
    """Features and states of users with empty histories."""
    features = jnp.zeros((count, self.network.feature_width), jnp.float32)
    return features, self.network.initial_state((count,))


def features_of(
  network: item_network.ItemNetwork,
  variables: PyTree,
  histories: Sequence[np.ndarray],
  gaps: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
  """Reads the newest items of histories, a few histories at a time.

  Args:
    network: the network.
    variables: variables of the network.
    histories: per user, the items (n_i,), from 1 on, at least one.
    gaps: see `Users.fill`.

  Returns:
    Features (n, d) for the network's `score`.
  """
  parts = [
    (some, features)
    for some, features, _ in _read_all(network, variables, histories, gaps)
  ]
  order, features = (np.concatenate(one) for one in zip(*parts))
  return features[np.argsort(order)]


def best(
  network: item_network.ItemNetwork,
  variables: PyTree,
  features: Any,
  taken: Sequence[Any],
  k: int,
  allowed: Sequence[int] | np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the best items, see `Users.recommend`.

  Args:
    network: the network.
    variables: variables of the network.
    features: (n, d) for its `score`.
    taken: per user, the items, counted from 1, to leave out.
    k: number of items per user.
    allowed: see `Users.recommend`.
  """
  count = network.num_items
  k = min(validate.integer("k", k, 1), count)
  free = np.full(count, allowed is None)
  if allowed is not None:
    free[np.array(allowed, int)] = True
  rows = max(1, _SCORES // count)
  # The width is rounded up, so that few programs are compiled.
  width = 1 << max([4, *(max(len(one) - 1, 0).bit_length() for one in taken)])
  results = []
  # Without users the results are empty arrays.
  for begin in range(0, max(1, len(features)), rows):
    some = slice(begin, begin + rows)
    barred = np.zeros((len(taken[some]), width), np.int32)
    for row, one in zip(barred, taken[some]):
      row[: len(one)] = sorted(one)
    arrays = features[some], barred, free
    results.append(_best(network, variables, *arrays, k))
  items, scores = (np.concatenate(one) for one in zip(*results))
  return items, scores


@functools.partial(jax.jit, static_argnums=(0, 5))
def _best(network, variables, features, barred, free, k):
  """The best items of some users."""
  logits = network.apply(variables, features, method="score")
  scores = jax.nn.log_softmax(logits)
  # Item 0 is the padding.
  rest = jnp.ones((len(barred), network.num_items + 1), bool)
  rest = rest.at[jnp.arange(len(barred))[:, None], barred].set(False)[:, 1:]
  scores = jnp.where(rest & free, scores, -jnp.inf)
  scores, items = lax.top_k(scores, k)
  return items, scores


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _advance(network, variables, arrays, row, item, gap):
  """Features and states after one user's next item."""
  states = jax.tree.map(lambda x: x[row][None], arrays[1])
  gaps = None if gap is None else gap[None]
  after = network.apply(
    variables, jnp.asarray(item)[None], states, gaps, method="step"
  )
  return jax.tree.map(lambda x, new: x.at[row].set(new[0]), arrays, after)


@functools.partial(jax.jit, donate_argnums=0)
def _cleared(arrays, fresh, row):
  """Features and states with fresh ones in a row."""
  return jax.tree.map(lambda x, new: x.at[row].set(new[0]), arrays, fresh)


@functools.partial(jax.jit, static_argnums=0)
def _read(network, variables, items, lengths, gaps):
  """The network's `read`."""
  return network.apply(variables, items, lengths, gaps, method="read")


def _read_all(network, variables, histories, gaps) -> Iterator[tuple]:
  """Yields indices, features and states of histories of similar lengths."""
  histories = [one[-network.length :] for one in histories]
  if gaps is not None:
    gaps = [one[-network.length :] for one in gaps]
  lengths = np.array([len(one) for one in histories])
  order = np.argsort(lengths, kind="stable")
  while len(order):
    elements = np.arange(1, 1 + len(order)) * lengths[order]
    count = max(1, np.searchsorted(elements, _ELEMENTS, side="right"))
    some, order = order[:count], order[count:]
    # Sizes are powers of two, so that few programs are compiled.
    time, size = (
      1 << int(x - 1).bit_length() for x in (lengths[some[-1]], len(some))
    )
    time = min(time, network.length)
    filled = np.pad(some, (0, size - len(some)), mode="edge")

    def at_ends(rows, dtype, filled=filled, time=time):
      array = np.zeros((len(filled), time), dtype)
      for row, n in zip(array, filled):
        row[time - lengths[n] :] = rows[n]
      return array

    between = None if gaps is None else at_ends(gaps, np.float32)
    items = at_ends(histories, np.int32)
    features, states = _read(
      network, variables, items, lengths[filled], between
    )
    states = jax.tree.map(lambda x, real=some: x[: len(real)], states)
    yield some, features[: len(some)], states
