"""A table of states of nodes: its rows, what waits, and how they drift.

    memory = node_memory.fresh(states, d_model=48, message_width=60)
    rows = node_memory.take(memory, nodes, epoch)
    memory = node_memory.put(memory, nodes, rows, winner)

Rows are written once per batch, by the last of several writers: which of them
XLA takes by itself is not defined.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq._types import PyTree


class Rates(NamedTuple):
  """Running rates of change of states (PRES, arXiv:2402.04284).

  Attributes:
    count: (nodes,) float32, rates that were seen.
    total: like the states, the sum of these.
    squares: likewise, of their squares.
  """

  count: jax.Array
  total: PyTree
  squares: PyTree

  def variance(self) -> PyTree:
    """Returns the variance of the rates; 0 where none was seen."""
    count = jnp.maximum(self.count, 1)

    def of(total, squares):
      scale = _beside(count, total)
      return squares / scale - (total / scale) ** 2

    return jax.tree.map(of, self.total, self.squares)


class Memory(NamedTuple):
  """All that is known of nodes; every array has an axis of them in front.

  Attributes:
    states: pair of the states of the layers and of the output (nodes, d).
    time: (nodes,) float32, of the last event that the states have seen.
    waiting: (nodes,) bool, whether an event waits to be seen.
    since: (nodes,) float32, its time.
    message: (nodes, k) float32, what it says.
    partner: (nodes,) int32, the other node of it.
    epoch: (nodes,) int32, in which the row was written; it is a fresh one in
      all other epochs.
    rates: `Rates`, or None.
  """

  states: PyTree
  time: jax.Array
  waiting: jax.Array
  since: jax.Array
  message: jax.Array
  partner: jax.Array
  epoch: jax.Array
  rates: Rates | None = None


def fresh(
  states: PyTree, d_model: int, message_width: int, rates: bool = False
) -> Memory:
  """Returns the memory before all events.

  Args:
    states: of the layers, each array with an axis of nodes in front.
    d_model: width of the output.
    message_width: of the messages.
    rates: whether there are some.
  """
  nodes = jax.tree.leaves(states)[0].shape[0]
  output = jnp.zeros((nodes, d_model), jnp.float32)
  zeros = jnp.zeros(nodes, jnp.float32)
  both = states, output
  change = jax.tree.map(jnp.zeros_like, both)
  return Memory(
    both,
    zeros,
    jnp.zeros(nodes, bool),
    zeros,
    jnp.zeros((nodes, message_width), jnp.float32),
    jnp.zeros(nodes, jnp.int32),
    jnp.full(nodes, -1, jnp.int32),
    Rates(zeros, change, change) if rates else None,
  )


# The time of nodes that have seen nothing.
UNSEEN = -1.0


def take(
  memory: Memory,
  nodes: jax.Array,
  epoch: jax.Array,
  start: PyTree,
  time: float = UNSEEN,
) -> Memory:
  """Returns the rows of some nodes.

  Args:
    memory: of all nodes.
    nodes: (n,) integers.
    epoch: in which they are read.
    start: states and output of a fresh node, with an axis of 1 in front.
    time: of a fresh node, see `since`.

  Returns:
    A memory of n rows; those that were not written in this epoch are fresh.
  """
  rows = jax.tree.map(lambda x: x[nodes], memory)
  valid = rows.epoch == epoch

  def choose(x, other):
    return jnp.where(_beside(valid, x), x, other)

  states = jax.tree.map(choose, rows.states, start)
  rest = rows._replace(states=(), epoch=())
  rest = jax.tree.map(lambda x: choose(x, jnp.zeros_like(x)), rest)
  return rest._replace(
    states=states,
    time=jnp.where(valid, rows.time, time),
    epoch=jnp.full(len(nodes), epoch),
  )


def since(rows: Memory, time: jax.Array) -> jax.Array:
  """Returns the time (n,) since rows have seen an event; 0 if they have not.

  Args:
    rows: n rows.
    time: (n,) of the events.
  """
  return jnp.where(rows.time < 0, 0, time - rows.time)


def put(
  memory: Memory, nodes: jax.Array, rows: Memory, winner: jax.Array
) -> Memory:
  """Writes rows into the memory.

  Args:
    memory: of all nodes.
    nodes: (n,) integers, whose rows they are.
    rows: n rows.
    winner: (n,) bool, see `last`; the others are left out.
  """
  count = len(memory.time)
  place = jnp.where(winner, nodes, count)

  def write(x, new):
    return x.at[place].set(new.astype(x.dtype), mode="drop")

  return jax.tree.map(write, memory, jax.lax.stop_gradient(rows))


def last(
  nodes: jax.Array, order: jax.Array, valid: jax.Array, count: int
) -> jax.Array:
  """Returns which entries are the last of their nodes, (n,) bool.

  Args:
    nodes: (n,) integers.
    order: (n,) integers, all of them different.
    valid: (n,) bool, which entries count.
    count: of all nodes.
  """
  order = jnp.where(valid, order, -1)
  best = jax.ops.segment_max(order, nodes, count)
  return valid & (best[nodes] == order)


def predicted(rows: Memory, time: jax.Array) -> PyTree:
  """Returns the states (n, ...) that PRES expects, those that drift on.

  Args:
    rows: n rows with rates.
    time: (n,) of the events.
  """
  passed, count = since(rows, time), rows.rates.count

  def of(state, total):
    rate = total / jnp.maximum(_beside(count, total), 1)
    return state + _beside(passed, state) * rate

  return jax.tree.map(of, rows.states, rows.rates.total)


def corrected(
  rows: Memory,
  states: PyTree,
  time: jax.Array,
  gamma: jax.Array | float,
) -> tuple[PyTree, Rates]:
  """Returns states between what PRES expects and the cell's, and the rates.

  A rate over no time is none: it is not counted.

  Args:
    rows: before the events.
    states: after them, by the cell.
    time: (n,) of the events.
    gamma: weight of the cell's, from 0 to 1.
  """
  passed = since(rows, time)
  moved = (passed > 0).astype(jnp.float32)
  scale = jnp.where(passed > 0, passed, 1)
  mixed = jax.tree.map(
    lambda guess, new: (1 - gamma) * guess + gamma * new,
    predicted(rows, time),
    states,
  )
  rate = jax.tree.map(
    lambda new, old: (new - old) / _beside(scale, new) * _beside(moved, new),
    mixed,
    rows.states,
  )
  return mixed, Rates(
    rows.rates.count + moved,
    jax.tree.map(jnp.add, rows.rates.total, rate),
    jax.tree.map(lambda x, y: x + y**2, rows.rates.squares, rate),
  )


def incoherence(
  before: jax.Array, after: jax.Array, counted: jax.Array
) -> jax.Array:
  """Returns 1 - cos of all counted rows together; 1 where one side is 0.

  Args:
    before: (n, d).
    after: (n, d).
    counted: (n,) bool.
  """
  before, after = (jnp.where(counted[:, None], x, 0) for x in (before, after))
  norm = jnp.sum(before**2) * jnp.sum(after**2)
  safe = jnp.where(norm > 0, norm, 1)
  return 1 - jnp.where(norm > 0, jnp.sum(before * after), 0) / jnp.sqrt(safe)


def _beside(weight, x):
  """A weight (n,) that multiplies arrays (n, ...)."""
  return weight.reshape(weight.shape + (1,) * (x.ndim - 1))
