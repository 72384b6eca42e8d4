"""A ring of sequences with priorities, as pure functions on device arrays.

Everything can be jitted, vmapped and carried through `scan`. Priorities are
used as in Schaul et al., "Prioritized Experience Replay", arXiv:1511.05952,
section 3.3 and 3.4.
"""

from collections.abc import Callable
from typing import Generic
from typing import NamedTuple
from typing import TypeVar

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl.losses import priorities as weights
from jaxseq.rl.replay import _sum_tree

Array = jax.Array
Item = TypeVar("Item")
Memory = TypeVar("Memory")

# Added so that a sequence with zero error can still be sampled.
_LEAST = 1e-6


class Replay(NamedTuple, Generic[Item]):
  """The most recent sequences.

  Attributes:
    items: pytree of the sequences, leading axis capacity.
    priorities: of the slots; 0 for empty ones.
    count: () int32, sequences added so far; the next one is written to slot
      `count % capacity`.
  """

  items: Item
  priorities: _sum_tree.Priorities
  count: Array


def init(item: Item, capacity: int) -> Replay[Item]:
  """Returns an empty ring for `capacity` sequences.

  A sequence is a pytree of arrays or of their shapes and dtypes.

  Raises:
    ValueError: if the capacity is below 1.
  """
  validate.positive("capacity", capacity)
  return Replay(
    items=jax.tree.map(
      lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), item
    ),
    priorities=_sum_tree.init(jnp.zeros((capacity,), jnp.float32)),
    count=jnp.zeros((), jnp.int32),
  )


def add(replay: Replay[Item], items: Item) -> Replay[Item]:
  """Adds sequences, with one leading axis; they overwrite the oldest ones.

  Their priority is the highest of the stored ones, or 1.

  Raises:
    ValueError: if there are more sequences than the ring can hold.
  """
  capacity, number = (
    len(jax.tree.leaves(tree)[0]) for tree in (replay.items, items)
  )
  validate.integer("number of items", number, high=capacity)
  places = (replay.count + jnp.arange(number)) % capacity
  highest = jnp.where(replay.count > 0, replay.priorities.rows.max(), 1.0)
  return Replay(
    items=jax.tree.map(
      lambda ring, item: ring.at[places].set(item), replay.items, items
    ),
    priorities=_sum_tree.put(
      replay.priorities, places, jnp.broadcast_to(highest, (number,))
    ),
    count=replay.count + number,
  )


def sample(
  replay: Replay,
  key: Array,
  batch_size: int,
  *,
  importance_exponent: float = 0.0,
) -> tuple[Array, Array]:
  """Samples sequences, with replacement, from a ring that is not empty.

  The weights correct the bias of prioritized sampling to the degree
  `importance_exponent`, from 0 to 1.

  Returns:
    The slots of the sequences, (batch_size,) int32, and their weights,
    (batch_size,) float32, the greatest of which is 1.
  """
  uniform = _sum_tree.draw(key, batch_size)
  places = _sum_tree.sample(replay.priorities, uniform)
  drawn = _sum_tree.get(replay.priorities, places)
  return places, weights.importance_weights(drawn, importance_exponent)


def take(replay: Replay[Item], places: Array) -> Item:
  """Returns the sequences in these slots, with the axes of `places`."""
  return jax.tree.map(lambda ring: ring[places], replay.items)


def renew(
  run: Callable[[Memory, slice], Memory], memory: Memory, burn_in: int
) -> Memory:
  """Refreshes a stored memory by a burn-in over the first steps of a sequence.

  A memory is stored when its sequence is played. The current parameters would
  compute a different one: running over some steps brings most of it up to date.
  Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
  Learning", ICLR 2019 (R2D2), section 3.

  `run` maps a memory and a slice of the steps to the memory after them. No
  gradient flows through the burn-in, which may be 0 steps.
  """
  if not burn_in:
    return memory
  return jax.lax.stop_gradient(run(memory, slice(0, burn_in)))


def set_priority(
  priorities: _sum_tree.Priorities,
  places: Array,
  priority: Array,
  exponent: float = 1.0,
) -> _sum_tree.Priorities:
  """Sets the priorities (n,) of the slots `places` (n,) int32 of a ring.

  For repeated slots the first value counts. A sequence is sampled with
  probability proportional to its priority, at least 0, to the power of
  `exponent`; 0 samples uniformly.
  """
  return _sum_tree.put(priorities, places, (priority + _LEAST) ** exponent)
