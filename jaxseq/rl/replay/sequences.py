"""A ring of sequences with priorities, as pure functions on device arrays.

Everything can be jitted, vmapped and carried through `scan`. Sampling by
priority is that of Schaul et al., "Prioritized Experience Replay",
arXiv:1511.05952, section 3.3 and 3.4.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array

# So that a sequence without an error can still be drawn.
_LEAST = 1e-6


class Replay(NamedTuple):
  """The most recent sequences.

  Attributes:
    items: pytree of the sequences, leading axis capacity.
    priority: (capacity,) float32, at least 0.
    count: () int32, sequences added so far; the next one goes to place
      `count % capacity`.
  """

  items: Any
  priority: Array
  count: Array


def init(item: Any, capacity: int) -> Replay:
  """Returns an empty ring.

  Args:
    item: one sequence, a pytree of arrays or of their shapes and dtypes.
    capacity: how many sequences it holds.

  Raises:
    ValueError: if the capacity is below 1.
  """
  if capacity < 1:
    raise ValueError(f"capacity: got {capacity}, expected 1 or more.")
  return Replay(
    items=jax.tree.map(
      lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), item
    ),
    priority=jnp.zeros((capacity,), jnp.float32),
    count=jnp.zeros((), jnp.int32),
  )


def size(replay: Replay) -> Array:
  """Returns how many sequences there are: () int32."""
  return jnp.minimum(replay.count, replay.priority.shape[0])


def add(replay: Replay, items: Any) -> Replay:
  """Adds sequences in the place of the oldest ones.

  They get the highest priority of those that are there, or 1.

  Args:
    replay: the ring.
    items: sequences, a pytree with one leading axis.

  Returns:
    The ring with the sequences.

  Raises:
    ValueError: if there are more of them than the ring can hold.
  """
  capacity = replay.priority.shape[0]
  number = jax.tree.leaves(items)[0].shape[0]
  if number > capacity:
    raise ValueError(
      f"items: got {number} sequences, expected at most {capacity}: the ring"
      " holds no more."
    )
  places = (replay.count + jnp.arange(number)) % capacity
  highest = jnp.where(replay.count > 0, replay.priority.max(), 1.0)
  return Replay(
    items=jax.tree.map(
      lambda ring, new: ring.at[places].set(new), replay.items, items
    ),
    priority=replay.priority.at[places].set(highest),
    count=replay.count + number,
  )


def sample(
  replay: Replay,
  key: Array,
  batch_size: int,
  *,
  priority_exponent: float = 0.0,
  importance_exponent: float = 0.0,
) -> tuple[Array, Array]:
  """Draws sequences, with replacement, from a ring that is not empty.

  Args:
    replay: the ring.
    key: random key.
    batch_size: how many.
    priority_exponent: a sequence is drawn with a probability in proportion to
      its priority to this power; 0 draws uniformly.
    importance_exponent: how much of the bias that this makes the weights take
      back; 0 nothing, 1 all.

  Returns:
    The places of the sequences, (batch_size,) int32, and their weights,
    (batch_size,) float32, the greatest of which is 1.
  """
  held = size(replay)
  mass = (replay.priority + _LEAST) ** priority_exponent
  mass = jnp.where(jnp.arange(mass.shape[0]) < held, mass, 0)
  upto = jnp.cumsum(mass)
  draw = jax.random.uniform(key, (batch_size,)) * upto[-1]
  places = jnp.searchsorted(upto, draw, side="right").astype(jnp.int32)
  # A product can round up to the whole sum.
  places = jnp.minimum(places, held - 1)
  drawn = mass[places]
  return places, (drawn.min() / drawn) ** importance_exponent


def take(replay: Replay, places: Array) -> Any:
  """Returns the sequences in these places, with the axes of `places`."""
  return jax.tree.map(lambda ring: ring[places], replay.items)


def set_priority(replay: Replay, places: Array, priority: Array) -> Replay:
  """Returns the ring with other priorities in these places.

  Args:
    replay: the ring.
    places: (n,) int32; of a place that occurs twice, one priority is kept.
    priority: (n,).
  """
  return replay._replace(priority=replay.priority.at[places].set(priority))
