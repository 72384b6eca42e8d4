"""Structural recursion: successors of numbers, and traversals of trees.

Binary numbers are terms of constructors, the outermost (the least significant
bit) first: 01 is one, X0 b is 2b and X1 b is 2b + 1. Their successor is defined
by recursion: S 01 = X0 01, S (X0 b) = X1 b, S (X1 b) = X0 (S b); its depth is
the number of leading X1. Trees are ( LABEL LEFT RIGHT ) or a leaf, and the
output is their labels in one of three orders; the depth is the tree's.

A sequence is INPUT SEP OUTPUT, and the output with END after it is scored: the
network reads the true output, so a sequence that is right everywhere ("solved")
would also have been generated so. With `steps` the output is the reduction:
every row on the way to the result, with SEP between them.

Numbers and trees drawn without regard to depth hardly ever need a deep
recursion: depth d has a share of 2^-d. `sampling="balanced"` draws half of the
sequences with a uniform depth, and `depth` fixes the depth of all.

Source: arXiv 2401.12947; encodings of trees and reductions are this package's.
"""

import dataclasses
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.data.tokens import sampling

# Tokens of numbers; SEP and END follow.
X0, X1, ONE, SUCCESSOR = range(4)
# Tokens of trees; labels and END follow.
OPEN, CLOSE, LEAF, SEP, CALL, RETURN, LABEL = range(7)
_NUMBER_SEP, _NUMBER_END = 4, 5
Sampling = Literal["natural", "balanced"]
Traversal = Literal["preorder", "inorder", "postorder"]


@dataclasses.dataclass(frozen=True)
class SuccessorConfig(sampling.TokenClasses):
  """Options of the successor of a binary number.

  Attributes:
    min_length: smallest number of constructors.
    max_length: largest number of constructors.
    order: "natural" has the outermost constructor first, "reversed" last.
    sampling: "natural" draws a length and then bits, "balanced" half of the
      numbers with a uniform depth.
    depth: depth of all numbers, 0 .. max_length - 1; None for any.
    steps: whether the output is the whole reduction.
  """

  min_length: int = 2
  max_length: int = 12
  order: Literal["natural", "reversed"] = "natural"
  sampling: Sampling = "natural"
  depth: int | None = None
  steps: bool = False

  vocab_size = 6

  def __post_init__(self):
    validate.literals(self)
    validate.at_least(self, min_length=1)
    validate.at_least(self, max_length=self.min_length)
    if self.depth is not None:
      validate.integer("depth", self.depth, 0, self.max_length - 1)

  @property
  def max_answer(self) -> int:
    """Length of the longest output."""
    return (self.max_length if self.steps else 1) * (self.max_length + 2)

  @property
  def time(self) -> int:
    """Length of a padded sequence."""
    return self.max_length + 1 + self.max_answer


@dataclasses.dataclass(frozen=True)
class TraversalConfig(sampling.TokenClasses):
  """Options of the traversal of a binary tree.

  Attributes:
    min_nodes: smallest number of nodes.
    max_nodes: largest number of nodes.
    labels: number of labels.
    order: order of the output.
    sampling: "natural" replaces random leaves by nodes one by one, "balanced"
      draws half of the trees with a uniform depth.
    depth: depth of all trees, 1 .. max_nodes; None for any.
    steps: whether the output is the whole reduction: all calls unfold at the
      same time, one level of the tree in each row; CALL opens and RETURN closes
      a call, and calls on leaves vanish.
  """

  min_nodes: int = 1
  max_nodes: int = 8
  labels: int = 16
  order: Traversal = "inorder"
  sampling: Sampling = "natural"
  depth: int | None = None
  steps: bool = False

  def __post_init__(self):
    validate.literals(self)
    validate.at_least(self, min_nodes=1, labels=1)
    validate.at_least(self, max_nodes=self.min_nodes)
    if self.depth is not None:
      least = self.min_nodes.bit_length()
      validate.integer("depth", self.depth, least, self.max_nodes)

  @property
  def vocab_size(self) -> int:
    """Number of tokens: the labels, END and six others."""
    return LABEL + self.labels + 1

  @property
  def max_tree(self) -> int:
    """Length of the longest tree."""
    return 4 * self.max_nodes + 1

  @property
  def max_answer(self) -> int:
    """Length of the longest output."""
    # A row has at most the tree and the calls of half of its nodes, and a
    # separator; there is one row for each level.
    row = self.max_tree + self.max_nodes + 2
    return self.max_nodes * row if self.steps else self.max_nodes

  @property
  def time(self) -> int:
    """Length of a padded sequence."""
    return self.max_tree + 1 + self.max_answer


def successor_row(
  number: jax.Array, length: jax.Array, step: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns a row of the reduction of S x.

  Args:
    number: (n,) integers, x, with its outermost constructor first; the padding
      does not matter.
    length: () number of constructors of x.
    step: () number of applied rules; from depth + 1 on, the row is the normal
      form.

  Returns:
    (n + 1,) int32 tokens, and () the length of the row.
  """
  depth = recursion_depth(number, length)
  place = jnp.arange(len(number) + 1)
  number = jnp.append(number, 0)
  reached = jnp.minimum(step, depth)
  # X0 before the recursion, S at it, and x after it.
  row = jnp.where(place < reached, X0, jnp.roll(number, 1))
  row = jnp.where(place == reached, SUCCESSOR, row)
  grows = depth == length - 1
  last = jnp.where(grows, X0, X1)
  normal = jnp.where(place < depth, X0, number)
  normal = jnp.where(place == depth, last, normal)
  normal = jnp.where(grows & (place == length), ONE, normal)
  done = step > depth
  count = jnp.where(done & ~grows, length, length + 1)
  return jnp.where(done, normal, row).astype(jnp.int32), count


def recursion_depth(number: jax.Array, length: jax.Array) -> jax.Array:
  """Returns the number () of leading X1 of a number (n,)."""
  inside = jnp.arange(len(number)) < length
  return jnp.cumprod((number == X1) & inside).sum()


def traversal_row(
  tree: jax.Array, order: Traversal, step: jax.Array | int
) -> tuple[jax.Array, jax.Array]:
  """Returns a row of the reduction of a traversal.

  Args:
    tree: (n,) integer tokens of a tree, padded with -1.
    order: order of the traversal.
    step: number of unfolded levels; from the depth of the tree on, the row is
      its labels in order.

  Returns:
    (2 n + 1,) int32 tokens, and () the length of the row.
  """
  place = jnp.arange(len(tree))
  opens, closes, leaf = tree == OPEN, tree == CLOSE, tree == LEAF
  label = tree >= LABEL
  level = jnp.cumsum(opens) - jnp.cumsum(closes) + closes - 1 + leaf
  ends = closes & (place > place[:, None]) & (level == level[:, None])
  match = jnp.argmax(ends, axis=1)
  if order == "preorder":
    turn = 4 * place
  elif order == "postorder":
    turn = 4 * jnp.roll(match, 1)
  else:
    left = jnp.roll(jnp.where(opens, match, place), -1)
    turn = 4 * left + 2
  called = level >= step
  keep = jnp.where(leaf, level > step, called | label) & (tree >= 0)
  first, last = (mark & (level == step) for mark in (opens, closes))
  keys = jnp.concatenate(
    [jnp.where(called, 4 * place, turn), 4 * place - 1, 4 * place + 1]
  )
  keep = jnp.concatenate([keep, first, last])
  tokens = jnp.concatenate(
    [tree, jnp.full_like(tree, CALL), jnp.full_like(tree, RETURN)]
  )
  sequence = jnp.argsort(jnp.where(keep, keys, 4 * len(tree) + 2), stable=True)
  tokens = tokens[sequence][: 2 * len(tree) + 1]
  return tokens.astype(jnp.int32), keep.sum()


def _packed(rows, counts, separator, size):
  """Concatenates rows (r, n) of given lengths, with separators."""
  rows = jnp.pad(rows, ((0, 0), (0, 1)))
  places = jnp.arange(rows.shape[1])
  rows = jnp.where(places == counts[:, None], separator, rows)
  keep = (places <= counts[:, None]) & (counts[:, None] > 0)
  to = jnp.where(keep, jnp.cumsum(keep).reshape(keep.shape) - 1, size)
  packed = jnp.zeros(size, jnp.int32).at[to].set(rows, mode="drop")
  return packed, keep.sum() - 1  # No separator after the last row.


def _pair(config, inputs, count, answer, answer_count, separator):
  """Builds a sequence and its targets from an input and an output."""
  end = config.vocab_size - 1
  inputs = jnp.pad(inputs, (0, config.time - len(inputs)))
  place = jnp.arange(config.time)
  behind = place - count
  answer = jnp.where(jnp.arange(len(answer)) < answer_count, answer, end)
  answer = jnp.pad(answer, (0, config.time + 1), constant_values=end)
  sequence = jnp.where(place < count, inputs, answer[behind - 1])
  sequence = jnp.where(behind == 0, separator, sequence)
  scored = (behind >= 0) & (behind <= answer_count)
  return sampling.TokenBatch(sequence, answer[jnp.maximum(behind, 0)], scored)


def _forced_depth(key, config, low, high):
  """Draws a depth, and whether the sequence must have it."""
  if config.depth is not None:
    return jnp.int32(config.depth), True
  key_depth, key_half = jax.random.split(key)
  depth = sampling.integers(key_depth, (), low, high + 1)
  return depth, (config.sampling == "balanced") & jax.random.bernoulli(key_half)


def _number(key, config):
  """Draws a number, (max_length,), and its number of constructors."""
  key_depth, key_length, key_bits = jax.random.split(key, 3)
  size = config.max_length
  depth, forced = _forced_depth(key_depth, config, 0, size - 1)
  least = jnp.maximum(jnp.where(forced, depth + 1, 0), config.min_length)
  length = sampling.integers(key_length, (), least, size + 1)
  place = jnp.arange(size)
  bits = sampling.integers(key_bits, (size,), X0, X1 + 1)
  chain = jnp.where(place < depth, X1, jnp.where(place == depth, X0, bits))
  bits = jnp.where(forced, chain, bits)
  return jnp.where(place == length - 1, ONE, bits), length


def sample_successor(
  key: jax.Array, config: SuccessorConfig
) -> sampling.TokenBatch:
  """Samples a number and its successor.

  The mask is True on the separator and the whole output.
  """
  number, length = _number(key, config)
  last = recursion_depth(number, length) + 1
  steps = jnp.arange(config.max_length) + 1 if config.steps else last[None]
  rows, counts = jax.vmap(lambda k: successor_row(number, length, k))(steps)
  counts = jnp.where(steps <= last, counts, 0)
  if config.order == "reversed":
    number = jnp.take(number, length - 1 - jnp.arange(len(number)), mode="clip")
    back = counts[:, None] - 1 - jnp.arange(rows.shape[1])
    rows = jnp.take_along_axis(rows, jnp.maximum(back, 0), axis=1)
  answer, count = _packed(rows, counts, _NUMBER_SEP, config.max_answer)
  return _pair(config, number, length, answer, count, _NUMBER_SEP)


def _tree(key, config):
  """Draws a tree, (max_tree,) padded with -1, and its depth."""
  key_depth, key_count, key_labels, key_places = jax.random.split(key, 4)
  most = config.max_nodes
  low = config.min_nodes.bit_length()
  depth, forced = _forced_depth(key_depth, config, low, most)
  limit = jnp.where(forced, depth, most)
  fewest = jnp.maximum(jnp.where(forced, depth, 0), config.min_nodes)
  fullest = jnp.minimum(2 ** jnp.minimum(limit, 20) - 1, most)
  count = sampling.integers(key_count, (), fewest, fullest + 1)
  labels = LABEL + sampling.integers(key_labels, (most,), 0, config.labels)
  place = jnp.arange(config.max_tree)
  tree = jnp.where(place == 0, LEAF, -1)

  def insert(number, carry):
    tree, last, deepest = carry
    leaf, opens, closes = tree == LEAF, tree == OPEN, tree == CLOSE
    level = jnp.cumsum(opens) - jnp.cumsum(closes)
    # First a chain of the required depth, then any leaves above it.
    chain = (place == last + 2) | (place == last + 3)
    where = jnp.where(forced & (number < depth), chain | (number == 0), True)
    where &= leaf & (level < limit)
    noise = jax.random.uniform(
      jax.random.fold_in(key_places, number), (len(tree),)
    )
    at = jnp.argmax(jnp.where(where, noise, -1))
    node = jnp.stack(
      [jnp.int32(OPEN), labels[number], *map(jnp.int32, (LEAF, LEAF, CLOSE))]
    )
    inside = (place >= at) & (place < at + 5)
    grown = jnp.where(place < at, tree, jnp.roll(tree, 4))
    grown = jnp.where(inside, node[jnp.clip(place - at, 0, 4)], grown)
    active = number < count
    deepest = jnp.where(active, jnp.maximum(deepest, level[at] + 1), deepest)
    return jnp.where(active, grown, tree), at, deepest

  start = tree, jnp.int32(0), jnp.int32(0)
  tree, _, depth = lax.fori_loop(
    0, most, insert, jax.tree.map(jnp.int32, start)
  )
  return tree, depth


def sample_traversal(
  key: jax.Array, config: TraversalConfig
) -> sampling.TokenBatch:
  """Samples a tree and its labels in order.

  The mask is True on the separator and the whole output.
  """
  tree, depth = _tree(key, config)
  steps = jnp.arange(config.max_nodes) + 1 if config.steps else depth[None]
  rows, counts = jax.vmap(lambda k: traversal_row(tree, config.order, k))(steps)
  counts = jnp.where(steps <= depth, counts, 0)
  answer, count = _packed(rows, counts, SEP, config.max_answer)
  return _pair(config, tree, (tree >= 0).sum(), answer, count, SEP)


SUCCESSOR_OF = sampling.Task(SuccessorConfig, sample_successor)
TRAVERSAL = sampling.Task(TraversalConfig, sample_traversal)
