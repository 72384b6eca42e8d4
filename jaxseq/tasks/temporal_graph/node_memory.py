"""A table of node states: its rows, waiting messages, and rates of change.

    memory = node_memory.fresh(states, d_model=48, message_width=60)
    rows = node_memory.take(memory, nodes, epoch)
    memory = node_memory.put(memory, nodes, rows, winner)

Rows are written once per batch, by the last of several writers: the result of
concurrent writes is not defined in XLA.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.nn import masks
from jaxseq.types import PyTree


class Rates(NamedTuple):
  """Running rates of change of states (PRES, arXiv:2402.04284).

  Attributes:
    count: (nodes,) float32, number of observed rates.
    total: sum of the rates, with the structure of the states.
    squares: sum of their squares, with the same structure.
  """

  count: jax.Array
  total: PyTree
  squares: PyTree

  def mean(self) -> PyTree:
    """Returns the mean of the rates; 0 without observations."""
    return _divided(self.total, jnp.maximum(self.count, 1))

  def variance(self) -> PyTree:
    """Returns the variance of the rates; 0 without observations."""
    squares = _divided(self.squares, jnp.maximum(self.count, 1))
    return jax.tree.map(lambda x, mean: x - mean**2, squares, self.mean())


class Memory(NamedTuple):
  """The memory of all nodes; every array has a node axis in front.

  Attributes:
    states: pair of the states of the layers and of the output (nodes, d).
    time: (nodes,) float32, of the last event that the states have seen.
    waiting: (nodes,) bool, whether a message is waiting.
    since: (nodes,) float32, the time of its event.
    message: (nodes, k) float32, its content.
    partner: (nodes,) int32, the other node of its event.
    epoch: (nodes,) int32, epoch in which the row was written; in all other
      epochs the row counts as fresh.
    time_rest: (nodes,) float32, rounding error of `time`, see
      `graph_options.halves`.
    since_rest: (nodes,) float32, rounding error of `since`.
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


# Fields that older files lack; they are read as zeros.
ADDED = ("time_rest", "since_rest")


def fresh(
  states: PyTree, d_model: int, message_width: int, rates: bool = False
) -> Memory:
  """Returns the memory before all events.

  Args:
    states: states of the layers, each array with a node axis in front.
    d_model: width of the output.
    message_width: width of the messages.
    rates: whether to track rates.
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


# The time of nodes without events.
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
    memory: memory of all nodes.
    nodes: (n,) integers.
    epoch: current epoch.
    start: states and output of a fresh node, with an axis of 1 in front.
    time: time of a fresh node, see `since`.

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
  """Returns the time (n,) since the last events; 0 for nodes without events.

  Args:
    last: (n,) times of the last events.
    time: (n,) current times.
    last_rest: (n,) rounding error of `last`, see `graph_options.halves`.
    rest: (n,) rounding error of `time`.
  """
  return jnp.where(last < 0, 0, (time - last) + (rest - last_rest))


def put(
  memory: Memory, nodes: jax.Array, rows: Memory, winner: jax.Array
) -> Memory:
  """Writes rows into the memory.

  Args:
    memory: memory of all nodes.
    nodes: (n,) integers, the nodes of the rows.
    rows: n rows.
    winner: (n,) bool, see `last`; other rows are not written.
  """
  place = jnp.where(winner, nodes, len(memory.time))

  def write(x, new):
    return x.at[place].set(new.astype(x.dtype), mode="drop")

  return jax.tree.map(write, memory, jax.lax.stop_gradient(rows))


def last(
  nodes: jax.Array, order: jax.Array, valid: jax.Array, count: int
) -> jax.Array:
  """Returns a mask (n,) of the last entry of each node.

  Args:
    nodes: (n,) integers.
    order: (n,) integers, all of them different.
    valid: (n,) bool, entries that count.
    count: number of all nodes.
  """
  order = jnp.where(valid, order, -1)
  best = jax.ops.segment_max(order, nodes, count)
  return valid & (best[nodes] == order)


def predicted(
  rows: Memory, time: jax.Array, rest: jax.Array | float = 0.0
) -> PyTree:
  """Returns the states (n, ...) that PRES predicts from the rates.

  Args:
    rows: n rows with rates.
    time: (n,) times of the events.
    rest: (n,) rounding errors of the times.
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
  """Returns states between PRES's prediction and the cell's, and the rates.

  If no time has passed there is no rate, and nothing is counted.

  Args:
    rows: rows before the events.
    states: states of the cell after the events.
    time: (n,) times of the events.
    gamma: weight of the cell's states, from 0 to 1.
    rest: (n,) rounding errors of the times.
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
  """Returns 1 - cos of all counted rows as one vector; 1 if a side is 0.

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
  """Arrays (n, ...) divided by a weight (n,)."""
  return jax.tree.map(lambda x: x / _beside(weight, x), tree)


def _beside(weight, x):
  """A weight (n,) reshaped to multiply arrays (n, ...)."""
  return weight.reshape(weight.shape + (1,) * (x.ndim - 1))
