"""States of users: one event changes one of them, in constant time and memory.

    users = item_streams.Users(network, variables)
    users.fill(["anna", "bert"], histories)
    users.update("anna", item)
    best, scores = users.recommend(["anna"], k=10)

The scores are those of the network over whole histories.
"""

from collections.abc import Hashable
from collections.abc import Iterator
from collections.abc import Sequence
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq.tasks.items import item_network

# Scores, and elements of histories, at once.
_SCORES = 2**24
_ELEMENTS = 2**14
# Users that there is room for at first: programs are those of a size.
_USERS = 64
# Elements of a packed row, or as many as the longest history has.
_ROW = 1024


class Users:
  """States of users, in rows of arrays that grow by doubling.

  Args:
    network: the network.
    variables: of it.
  """

  def __init__(self, network: item_network.ItemNetwork, variables: Any):
    if network.masked:
      expected = "False: a network that sees both sides keeps no states"
      raise _validate.error("masked", True, expected)
    if network.rebuilds:
      expected = "False: what is rebuilt is a whole history"
      raise _validate.error("rebuilds", True, expected)
    if network.config.stack.scan_layers:
      expected = "False: every layer has its own states of the users"
      raise _validate.error("scan_layers", True, expected)
    network, variables = network.freeze(variables)
    self.network, self.variables = network, jax.device_put(variables)
    self._rows: dict[Hashable, int] = {}
    self._seen: list[set[int]] = []
    self._states, self._features = self._fresh(_USERS)

  def __len__(self) -> int:
    return len(self._rows)

  def __contains__(self, user: Hashable) -> bool:
    return user in self._rows

  def seen(self, user: Hashable) -> set[int]:
    """Returns the items, from 1 on, that a user has taken."""
    return self._seen[self._rows[user]]

  def fill(
    self,
    users: Sequence[Hashable],
    histories: Sequence[np.ndarray],
    gaps: Sequence[np.ndarray] | None = None,
  ) -> None:
    """Puts new users in, with what they have taken so far.

    Args:
      users: their names.
      histories: of each the items (n_i,), from 1 on, at least one.
      gaps: of each (n_i,) those before the items, if the network reads them.

    Raises:
      ValueError: if a user is there already.
    """
    for user in users:
      if user in self:
        raise _validate.error("users", user, "new ones")
    order = np.argsort([len(one) for one in histories], kind="stable")
    for some in _chunks(histories, order):
      arrays = _at_ends(histories, some), _at_ends(gaps, some)
      features, states = _read_ends(
        self.network,
        self.variables,
        *arrays,
        np.array([len(histories[n]) for n in some]),
      )
      rows = [self._row(users[n]) for n in some]
      place = np.array(rows)
      self._features = self._features.at[place].set(features)
      self._states = jax.tree.map(
        lambda all_of_them, new, place=place: all_of_them.at[place].set(new),
        self._states,
        states,
      )
      for row, n in zip(rows, some):
        self._seen[row].update(map(int, histories[n]))

  def update(self, user: Hashable, item: int, gap: float | None = None) -> None:
    """Reads one more item of a user, who may be new.

    Args:
      user: name.
      item: from 1 on.
      gap: before the item, if the network reads them.
    """
    _validate.integer("item", item, 1, self.network.num_items)
    row = self._row(user)
    self._seen[row].add(item)
    self._states, self._features = _advance(
      self.network,
      self.variables,
      self._states,
      self._features,
      row,
      item,
      None if gap is None else np.float32(gap),
    )

  def recommend(
    self,
    users: Sequence[Hashable],
    k: int = 10,
    repeats: bool = False,
    allowed: np.ndarray | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best items of users, (n, k) from 0 on, and their scores.

    Args:
      users: names of some that are there.
      k: items of each.
      repeats: whether they may have taken them.
      allowed: (items,) bool, those that may be recommended; all if None.

    Returns:
      The items, the best first, and log probabilities among all items; -inf
      where no item is left.

    Raises:
      ValueError: if a user is not there.
    """
    for user in users:
      if user not in self:
        raise _validate.error("users", user, "one that has taken something")
    rows = np.array([self._rows[user] for user in users], int)
    taken = [() if repeats else self._seen[row] for row in rows]
    features = jnp.take(self._features, rows, axis=0)
    return best(self.network, self.variables, features, taken, k, allowed)

  def _row(self, user):
    """The row of a user, a new one if they have none."""
    row = self._rows.get(user)
    if row is None:
      row = len(self._rows)
      if row == len(self._features):
        more = self._fresh(row)
        self._states, self._features = jax.tree.map(
          lambda one, two: jnp.concatenate([one, two]),
          (self._states, self._features),
          more,
        )
      self._rows[user] = row
      self._seen.append(set())
    return row

  def _fresh(self, count):
    states = self.network.initial_state((count,))
    width = self.network.config.stack.d_model
    return states, jnp.zeros((count, width), jnp.float32)


def features_of(
  network: item_network.ItemNetwork,
  variables: Any,
  histories: Sequence[np.ndarray],
  gaps: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
  """Reads histories in one packed pass, end to end in rows.

  Args:
    network: the network.
    variables: of it.
    histories: of each user the items (n_i,), from 1 on, at least one.
    gaps: see `Users.fill`.

  Returns:
    What the network's `score` takes, (n, d).
  """
  sizes = [len(one) for one in histories]
  time = max(max(sizes), min(_ROW, sum(sizes)))
  # Row, first element, and number in the row.
  places, row, begin, number = [], 0, 0, 0
  for size in sizes:
    if begin + size > time:
      row, begin, number = row + 1, 0, 0
    places.append((row, begin, number))
    begin, number = begin + size, number + 1
  most = 1 + max(number for _, _, number in places)
  items = np.zeros((row + 1, time), np.int32)
  reset, at = np.zeros(items.shape, bool), np.zeros((row + 1, most), np.int32)
  between = None if gaps is None else np.ones(items.shape, np.float32)
  for n, (row, begin, number) in enumerate(places):
    span = slice(begin, begin + sizes[n])
    items[row, span], reset[row, begin] = histories[n], True
    at[row, number] = span.stop - 1
    if between is not None:
      between[row, span] = gaps[n]
  results, rows = [], max(1, _ELEMENTS // time)
  for begin in range(0, len(items), rows):
    some = slice(begin, begin + rows)
    gap = None if between is None else between[some]
    arrays = items[some], reset[some], at[some], gap
    results.append(_read(network, variables, *arrays)[0])
  row, _, number = np.array(places).T
  return np.concatenate(results)[row, number]


def best(
  network: item_network.ItemNetwork,
  variables: Any,
  features: Any,
  taken: Sequence[Any],
  k: int,
  allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the best items, see `Users.recommend`.

  Args:
    network: the network.
    variables: of it.
    features: (n, d), what its `score` takes.
    taken: of each user the items, from 1 on, that are left out.
    k: items of each.
    allowed: see `Users.recommend`.
  """
  count = network.num_items
  k = min(_validate.integer("k", k, 1), count)
  if allowed is None:
    allowed = np.ones(count, bool)
  rows = max(1, _SCORES // count)
  # The width is rounded up, so that few programs are compiled.
  width = 1 << max([4, *(max(len(one) - 1, 0).bit_length() for one in taken)])
  results = []
  for begin in range(0, len(features), rows):
    some = list(taken[begin : begin + rows])
    barred = np.zeros((len(some), width), np.int32)
    for row, one in zip(barred, some):
      row[: len(one)] = sorted(one)
    part = features[begin : begin + rows]
    results.append(_best(network, variables, part, barred, allowed, k))
  items, scores = (np.concatenate(one) for one in zip(*results))
  return items, scores


@functools.partial(jax.jit, static_argnums=(0, 5))
def _best(network, variables, features, barred, allowed, k):
  """The best items of some users."""
  logits = network.apply(variables, features, method="score")
  scores = jax.nn.log_softmax(logits)
  # Item 0 is no item.
  free = jnp.ones((len(barred), network.num_items + 1), bool)
  free = free.at[jnp.arange(len(barred))[:, None], barred].set(False)[:, 1:]
  scores = jnp.where(free & allowed, scores, -jnp.inf)
  scores, items = lax.top_k(scores, k)
  return items, scores


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(2, 3))
def _advance(network, variables, states, features, row, item, gap):
  """States and features with those of one user after one more item."""
  own = jax.tree.map(lambda x: x[row][None], states)
  gaps = None if gap is None else gap[None]
  x, own = network.apply(
    variables, jnp.asarray(item)[None], own, gaps, method="step"
  )
  states = jax.tree.map(lambda x, new: x.at[row].set(new[0]), states, own)
  return states, features.at[row].set(x[0])


@functools.partial(jax.jit, static_argnums=0)
def _read(network, variables, items, reset, at, gaps):
  """The network's `read`."""
  return network.apply(variables, items, reset, at, gaps, method="read")


def _read_ends(network, variables, items, gaps, sizes):
  """Features and states after histories that lie at the ends of rows."""
  time = items.shape[1]
  reset = np.arange(time) == time - sizes[:, None]
  at = np.full((len(items), 1), time - 1, np.int32)
  features, states = _read(network, variables, items, reset, at, gaps)
  return features[:, 0], states


def _at_ends(rows, some):
  """Rows at the ends of those of an array, whose width is a power of two."""
  if rows is None:
    return None
  time = max(len(rows[n]) for n in some)
  time = 1 << (time - 1).bit_length()
  array = np.zeros((len(some), time), np.asarray(rows[some[0]]).dtype)
  for row, n in zip(array, some):
    row[time - len(rows[n]) :] = rows[n]
  return array


def _chunks(histories, order) -> Iterator[np.ndarray]:
  """Yields numbers of histories, those of like lengths together."""
  begin = 0
  while begin < len(order):
    end = begin + 1
    while (
      end < len(order)
      and (end + 1 - begin) * len(histories[order[end]]) <= _ELEMENTS
    ):
      end += 1
    yield order[begin:end]
    begin = end
