"""Generated event graphs: partners' items, and users that drift on a ring."""

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import event_graphs
from jaxseq.data.sources import interactions


def followers(
  *, pairs: int = 300, repeats: int = 3, seed: int = 0
) -> datasets.Splits:
  """Generates pairs of users with different items at the same times.

  One user of a pair takes the items 0 to 4 in turn, several times, the other 5
  to 9 at the same times. The only other candidate is the partner's item. Models
  that see only times and numbers of neighbors are right in half of the cases;
  models that know a user's last item, in all but the first.

  Args:
    pairs: number of pairs.
    repeats: repetitions of the five items.
    seed: seed of the pairs' starts, and of which user takes which items.

  Returns:
    The splits, by time.

  Source: the example of TGB-Seq (Yi et al., arXiv:2502.02975).
  """
  validate.all_positive(pairs=pairs, repeats=repeats)
  rng = np.random.default_rng(seed)
  steps = 5 * repeats
  begin = np.sort(rng.integers(0, 20 * pairs, pairs))
  # Arrays (pairs, steps, 2).
  side = rng.permuted(np.tile([0, 1], (pairs, 1)), axis=1)[:, None]
  item = side * 5 + (np.arange(steps) % 5)[:, None]
  user = 10 + 2 * np.arange(pairs)[:, None, None] + np.arange(2)
  time = begin[:, None, None] + np.arange(steps, dtype=float)[:, None]
  user, item, times = map(np.ravel, np.broadcast_arrays(user, item, time))
  order = np.argsort(times, kind="stable")
  nodes = np.stack([user, item], axis=1)[order] + 1
  other = (nodes[:, 1:] - 1 + 5) % 10 + 1
  times = times[order]
  part = interactions.by_time(times, 0.15, 0.15)
  return event_graphs.make_splits(
    nodes,
    times,
    part,
    "generated",
    10 + 2 * pairs,
    others=[other[part == 1], other[part == 2]],
  )


def drifting_nodes(
  *,
  users: int = 100,
  items: int = 50,
  events: int = 20_000,
  speed: float = 0.02,
  noise: float = 1.0,
  candidates: int = 20,
  seed: int = 0,
) -> datasets.Splits:
  """Generates users that move around a ring of items, each at its own speed.

  At every whole time a random user takes the item at its place, plus noise.

  Args:
    users: number of users.
    items: number of items on the ring.
    events: number of events of all users.
    speed: standard deviation of the items that a user passes per unit of time.
    noise: standard deviation of an item from its user's place.
    candidates: number of other items per validation and test event.
    seed: seed of all random choices.

  Returns:
    The splits, by time.
  """
  validate.all_positive(users=users, items=items, events=events)
  validate.number("speed", speed, 0)
  validate.number("noise", noise, 0)
  rng = np.random.default_rng(seed)
  user = rng.integers(0, users, events)
  begin, pace = rng.uniform(0, items, users), speed * rng.normal(size=users)
  times = np.arange(events, dtype=float)
  place = begin[user] + pace[user] * times + noise * rng.normal(size=events)
  item = np.floor(place).astype(int) % items
  nodes = np.stack([items + user, item], axis=1) + 1
  part = interactions.by_time(times, 0.15, 0.15)
  return event_graphs.make_splits(
    nodes,
    times,
    part,
    "generated",
    users + items,
    candidates=candidates,
    seed=seed,
  )
