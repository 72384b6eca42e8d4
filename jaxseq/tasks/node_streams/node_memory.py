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
from jaxseq.nn import masks


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

  def mean(self) -> PyTree:
    """Returns the mean of the rates; 0 where none was seen."""
    return _divided(self.total, jnp.maximum(self.count, 1))

  def variance(self) -> PyTree:
    """Returns the variance of the rates; 0 where none was seen."""
    squares = _divided(self.squares, jnp.maximum(self.count, 1))
    return jax.tree.map(lambda x, mean: x - mean**2, squares, self.mean())


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
    time_rest: (nodes,) float32, what `time` lacks of the exact time, see
      `graph_options.halves`.
    since_rest: (nodes,) float32, what `since` lacks.
    rates: `Rates`, or None.
  """

  states: PyTree
  time: jax.Array
  waiting: jax.Array
  since: jax.Array
  message: jax.Array
  partner: jax.Array
  epoch: jax.Array
  time_rest: jax.Array
  since_rest: jax.Array
  rates: Rates | None = None


# Fields that older files lack; they are zeros there.
ADDED = ("time_rest", "since_rest")


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
    zeros,
    zeros,
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
  other = jax.tree.map(jnp.zeros_like, rows)._replace(states=start, time=time)
  rows = masks.choose(rows.epoch == epoch, rows, other)
  return rows._replace(epoch=jnp.full(len(nodes), epoch))


def since(
  last: jax.Array,
  time: jax.Array,
  last_rest: jax.Array | float = 0.0,
  rest: jax.Array | float = 0.0,
) -> jax.Array:
  """Returns the time (n,) since the last events; 0 of rows that saw none.

  Args:
    last: (n,) when they were.
    time: (n,) the time now.
    last_rest: (n,) what `last` lacks, see `graph_options.halves`.
    rest: (n,) what `time` lacks.
  """
  return jnp.where(last < 0, 0, (time - last) + (rest - last_rest))


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
  place = jnp.where(winner, nodes, len(memory.time))

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


def predicted(
  rows: Memory, time: jax.Array, rest: jax.Array | float = 0.0
) -> PyTree:
  """Returns the states (n, ...) that PRES expects, those that drift on.

  Args:
    rows: n rows with rates.
    time: (n,) of the events.
    rest: (n,) what the times lack.
  """
  passed = since(rows.time, time, rows.time_rest, rest)
  return jax.tree.map(
    lambda state, rate: state + _beside(passed, state) * rate,
    rows.states,
    rows.rates.mean(),
  )


def corrected(
  rows: Memory,
  states: PyTree,
  time: jax.Array,
  gamma: jax.Array | float,
  rest: jax.Array | float = 0.0,
) -> tuple[PyTree, Rates]:
  """Returns states between what PRES expects and the cell's, and the rates.

  If no time has passed there is no rate, and nothing is counted.

  Args:
    rows: before the events.
    states: after them, by the cell.
    time: (n,) of the events.
    gamma: weight of the cell's, from 0 to 1.
    rest: (n,) what the times lack.
  """
  passed = since(rows.time, time, rows.time_rest, rest)
  moved = (passed > 0).astype(jnp.float32)
  scale = jnp.where(passed > 0, passed, 1)
  mixed = jax.tree.map(
    lambda guess, new: (1 - gamma) * guess + gamma * new,
    predicted(rows, time, rest),
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


def _divided(tree, weight):
  """Arrays (n, ...) by a weight (n,)."""
  return jax.tree.map(lambda x: x / _beside(weight, x), tree)


def _beside(weight, x):
  """A weight (n,) that multiplies arrays (n, ...)."""
  return weight.reshape(weight.shape + (1,) * (x.ndim - 1))
