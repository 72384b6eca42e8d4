"""Trees instead of time: every element follows its parent.

In a sequence one element follows each; in a tree any number. The state after a
node is computed from the state after its parent, and the node's own input. Such
trees are drafts of continuations, all of which one pass over a model reads.

A tree is static: arrays of nodes have an axis `nodes` instead of `time`. A
reset inside of it would be wrong: it means a fresh state, and a branch needs
its parent's.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class Tree:
  """A static tree, or several in parallel; hashable.

  Its arrays are int32: they are kept from call to call, which may differ in
  whether JAX uses 64 bits.

  Attributes:
    parents: for each node the number of its parent, which is smaller than its
      own; -1 for nodes that follow the carried state.
    ranks: for each node the rank of its guess among those for the element after
      its parent, from 0 on, and -1 for nodes without a parent; the place among
      its siblings if None.
  """

  parents: tuple[int, ...]
  ranks: tuple[int, ...] = ()

  def __post_init__(self):
    parents = tuple(int(parent) for parent in self.parents)
    if not parents:
      raise validate.error("parents", parents, "those of at least one node")
    for node, parent in enumerate(parents):
      if not -1 <= parent < node:
        expected = f"a number from -1 to {node - 1} for node {node}"
        raise validate.error("parents", parent, expected)
    ranks = tuple(int(rank) for rank in self.ranks)
    if not ranks:
      ranks = tuple(
        -1 if parent < 0 else parents[:node].count(parent)
        for node, parent in enumerate(parents)
      )
    signs = [rank < 0 for rank in ranks]
    if signs != [parent < 0 for parent in parents]:
      expected = "a number for each node, -1 where parents has -1"
      raise validate.error("ranks", ranks, expected)
    object.__setattr__(self, "parents", parents)
    object.__setattr__(self, "ranks", ranks)

  @property
  def size(self) -> int:
    """Number of nodes."""
    return len(self.parents)

  @functools.cached_property
  def depths(self) -> np.ndarray:
    """(nodes,) numbers of ancestors."""
    depths = []
    for parent in self.parents:
      depths.append(0 if parent < 0 else depths[parent] + 1)
    return np.array(depths, np.int32)

  @functools.cached_property
  def levels(self) -> tuple[np.ndarray, ...]:
    """The nodes of each depth."""
    return tuple(
      np.flatnonzero(self.depths == depth).astype(np.int32)
      for depth in range(self.depths.max() + 1)
    )

  @functools.cached_property
  def ancestors(self) -> np.ndarray:
    """(nodes, nodes) bool: whether [i, j], j is i or an ancestor of i."""
    mask = np.eye(self.size, dtype=bool)
    for node, parent in enumerate(self.parents):
      if parent >= 0:
        mask[node] |= mask[parent]
    return mask

  @functools.cached_property
  def paths(self) -> np.ndarray:
    """(leaves, depth) nodes from a root to each leaf in order, ends of -1."""
    parents = set(self.parents)
    rows = []
    for leaf in range(self.size):
      if leaf not in parents:
        rows.append(np.flatnonzero(self.ancestors[leaf]))
    paths = np.full((len(rows), len(self.levels)), -1, np.int32)
    for row, nodes in zip(paths, rows):
      row[: len(nodes)] = nodes
    return paths

  def before(self, count: int) -> np.ndarray:
    """(nodes, count): the last ancestors, the parent last.

    In a shorter path, -1 is the newest element before the tree, -2 the one
    before that, and so on.
    """
    rows = np.empty((self.size, count), int)
    for node, parent in enumerate(self.parents):
      for lag in range(count):
        rows[node, count - 1 - lag] = parent
        parent = self.parents[parent] if parent >= 0 else parent - 1
    return rows


def from_ranks(ranks: Iterable[Sequence[int]]) -> Tree:
  """Returns the tree of a template: a root, and a node for each row.

  Args:
    ranks: for each node except the root, in their order, the ranks of the nodes
      on the path to it: (0,) is the first guess for the element after the root,
      and (0, 2) the third for the element after that. Negative entries are left
      out.

  Returns:
    The tree, whose node 0 is the root.

  Raises:
    ValueError: if the path to a node's parent does not precede its own, or a
      path occurs twice.
  """
  number = {(): 0}
  parents, leaf_nodes = [-1], [-1]
  for row in ranks:
    path = tuple(int(rank) for rank in row if rank >= 0)
    if path in number or path[:-1] not in number:
      expected = "paths, each once and behind that of its parent"
      raise validate.error("ranks", path, expected)
    number[path] = len(parents)
    parents.append(number[path[:-1]])
    leaf_nodes.append(path[-1])
  return Tree(tuple(parents), tuple(leaf_nodes))


def chain(size: int) -> Tree:
  """Returns a tree without branches."""
  validate.positive("size", size)
  return Tree(tuple(range(-1, size - 1)))


def tree_fold(
  step: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
  init: PyTree,
  xs: PyTree,
  tree: Tree,
  rank: int = 1,
) -> tuple[PyTree, PyTree]:
  """Folds a step function over a tree, level by level.

  Args:
    step: `step(carry, x) -> (carry, y)`, with leaves (*batch, n, ...) for the n
      nodes of a level.
    init: carry before the tree, leaves (*batch, ...).
    xs: leaves (*batch, nodes, ...).
    tree: the tree.
    rank: number of axes of the batch.

  Returns:
    The outputs and the carries after all nodes, leaves (*batch, nodes, ...).

  Raises:
    ValueError: if the number of nodes differs.
  """
  _check_nodes(xs, tree, rank)
  parents = np.array(tree.parents)
  place = np.zeros(tree.size, int)
  outputs, carries, carry = [], [], None
  for nodes in tree.levels:
    place[nodes] = np.arange(len(nodes))
    if carry is None:
      carry = _repeat(init, len(nodes), rank)
    else:
      carry = _take(carry, place[parents[nodes]], rank)
    carry, y = step(carry, _take(xs, nodes, rank))
    outputs.append(y)
    carries.append(carry)
  order = np.argsort(np.concatenate(tree.levels))

  def join(*levels):
    return _take(jnp.concatenate(levels, axis=rank), order, rank)

  return jax.tree.map(join, *outputs), jax.tree.map(join, *carries)


def to_paths(xs: PyTree, tree: Tree, rank: int = 1) -> PyTree:
  """Lays out every path from a root to a leaf as a separate row.

  Args:
    xs: leaves (*batch, nodes, ...).
    tree: the tree.
    rank: number of axes of the batch.

  Returns:
    Leaves (*batch, leaves, depth, ...); after the end of a path, which no
    causal function reads, node 0.

  Raises:
    ValueError: if the number of nodes differs.
  """
  _check_nodes(xs, tree, rank)
  return _take(xs, np.maximum(tree.paths, 0), rank)


def from_paths(ys: PyTree, tree: Tree, rank: int = 1) -> PyTree:
  """Selects every node's entry from the first path through it.

  Args:
    ys: leaves (*batch, leaves, depth, ...), as `to_paths` lays them out.
    tree: the tree.
    rank: number of axes of the batch.

  Returns:
    Leaves (*batch, nodes, ...).
  """
  depth = tree.paths.shape[1]
  places = [np.flatnonzero(tree.paths == node)[0] for node in range(tree.size)]

  def leaf(y):
    flat = (*y.shape[:rank], y.shape[rank] * depth, *y.shape[rank + 2 :])
    return jnp.take(y.reshape(flat), np.array(places), axis=rank)

  return jax.tree.map(leaf, ys)


def for_paths(state: PyTree, tree: Tree, rank: int = 1) -> PyTree:
  """Repeats a state (*batch, ...) for every path: (*batch, leaves, ...)."""
  return _repeat(state, len(tree.paths), rank)


def after_node(states: PyTree, node: jax.Array, rank: int = 1) -> PyTree:
  """Selects the state after one node of each row.

  Args:
    states: leaves (*batch, nodes, ...), as `tree_fold` returns them.
    node: (*batch,) numbers of nodes.
    rank: number of axes of the batch.

  Returns:
    Leaves (*batch, ...).
  """

  def leaf(states):
    index = node.reshape(node.shape + (1,) * (states.ndim - rank))
    return jnp.take_along_axis(states, index, axis=rank).squeeze(rank)

  return jax.tree.map(leaf, states)


def _take(xs, index, axis):
  """Entries of an axis; the unchanged arrays if these are all in order."""

  def leaf(x):
    if index.ndim == 1 and np.array_equal(index, np.arange(x.shape[axis])):
      return x
    return jnp.take(x, index, axis=axis)

  return jax.tree.map(leaf, xs)


def _repeat(state, count, axis):
  """Repeats the state along a new axis."""

  def leaf(x):
    x = jnp.expand_dims(x, axis)
    return jnp.broadcast_to(x, (*x.shape[:axis], count, *x.shape[axis + 1 :]))

  return jax.tree.map(leaf, state)


def _check_nodes(xs, tree, axis):
  """Checks the axis of nodes."""
  for leaf in jax.tree.leaves(xs):
    if jnp.ndim(leaf) <= axis or leaf.shape[axis] != tree.size:
      expected = f"{tree.size} nodes along axis {axis}"
      raise validate.error("xs", f"shape {jnp.shape(leaf)}", expected)
