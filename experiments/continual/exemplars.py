"""Exemplars: the examples that a learner stores from earlier tasks.

    memory = exemplars.empty(100, inputs[:1], num_classes=10)
    memory = exemplars.offer(memory, inputs, targets, key)
    old = exemplars.recall(memory, key, 32)

A memory has a fixed number of places, and an array for each field. Its cost is
the bytes of its arrays, see `num_bytes`. The reservoir is that of
github.com/aimagelab/mammoth; herding is that of iCaRL (arXiv:1611.07725) as in
MEMO's code.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.types import PyTree


class Memory(NamedTuple):
  """Stored examples.

  Attributes:
    inputs: (size, ...) in the storage format, see `encode`.
    targets: (size,) integers.
    seen: () int32, number of examples offered; places are filled from the first
      on.
    logits: (size, classes) float32, outputs of the network when it saw an
      example; None if they are not needed.
  """

  inputs: jax.Array
  targets: jax.Array
  seen: jax.Array
  logits: jax.Array | None = None

  @property
  def filled(self) -> jax.Array:
    """The filled places of the memory, (size,) bool."""
    return jnp.arange(len(self.targets)) < self.seen


class Recalled(NamedTuple):
  """Examples drawn from a memory.

  Attributes:
    inputs: (n, ...) in the storage format.
    targets: (n,) int32.
    weight: (n,) float32, 0 if the memory was empty, else 1.
    logits: (n, classes), or None.
  """

  inputs: jax.Array
  targets: jax.Array
  weight: jax.Array
  logits: jax.Array | None = None


def empty(
  size: int, example: jax.Array, num_classes: int, logits: bool = False
) -> Memory:
  """Returns a memory without examples.

  Args:
    size: places, at least 1.
    example: (1, ...) inputs in the storage format.
    num_classes: number of classes; targets are below it.
    logits: whether to store outputs, too.
  """
  validate.positive("size", size)
  narrow = jnp.uint8 if num_classes <= 256 else jnp.int32
  return Memory(
    jnp.zeros((size, *example.shape[1:]), example.dtype),
    jnp.zeros((size,), narrow),
    jnp.zeros((), jnp.int32),
    jnp.zeros((size, num_classes)) if logits else None,
  )


def offer(
  memory: Memory,
  inputs: jax.Array,
  targets: jax.Array,
  key: jax.Array,
  logits: jax.Array | None = None,
) -> Memory:
  """Offers examples one after the other; a reservoir keeps some.

  Example n (from 0) gets place n while there are free ones; after that a random
  place of 0 .. n, if the memory has that place. Every example of the stream is
  kept with the same probability.

  Args:
    memory: the memory.
    inputs: (n, ...) in the storage format.
    targets: (n,) integers.
    key: random key of the draws.
    logits: (n, classes), if the memory stores them.
  """
  size, count = len(memory.targets), len(targets)
  number = memory.seen + jnp.arange(count)
  drawn = jax.random.randint(key, (count,), 0, number + 1)
  place = jnp.where(number < size, number, drawn)
  # If several get the same place, the last one stays.
  later = jnp.triu(jnp.ones((count, count), bool), 1)
  taken = (later & (place[:, None] == place[None])).any(axis=1)
  place = jnp.where(taken, size, place)

  def put(array, values):
    return array.at[place].set(values.astype(array.dtype), mode="drop")

  kept = memory.inputs, memory.targets, memory.logits
  new = inputs, targets, None if memory.logits is None else logits
  inputs, targets, logits = jax.tree.map(put, kept, new)
  return Memory(inputs, targets, memory.seen + count, logits)


def recall(memory: Memory, key: jax.Array, count: int) -> Recalled:
  """Draws examples at random, independently and with replacement."""
  size = len(memory.targets)
  filled = jnp.clip(memory.seen, 1, size)
  index = jax.random.randint(key, (count,), 0, filled)
  return Recalled(
    memory.inputs[index],
    memory.targets[index].astype(jnp.int32),
    jnp.broadcast_to(memory.seen > 0, (count,)).astype(jnp.float32),
    None if memory.logits is None else memory.logits[index],
  )


def herd(features: jax.Array, mask: jax.Array, count: int) -> jax.Array:
  """Ranks the examples of a class by herding.

  Each step chooses the example that brings the mean of the chosen normalized
  features nearest to the mean of all.

  Args:
    features: (n, width).
    mask: (n,) bool, the examples of the class.
    count: number of ranked examples.

  Returns:
    (n,) int32 ranks from 0 on; n for examples that are not chosen.
  """
  size = len(mask)
  norms = jnp.linalg.norm(features, axis=1, keepdims=True)
  features = features / (norms + 1e-8)
  weight = mask[:, None].astype(features.dtype)
  mean = (features * weight).sum(axis=0) / jnp.maximum(weight.sum(), 1)

  def choose(rank, carry):
    ranks, total = carry
    distance = jnp.square(mean - (total + features) / (rank + 1)).sum(axis=1)
    free = mask & (ranks == size)
    best = jnp.argmin(jnp.where(free, distance, jnp.inf))
    ranks = ranks.at[best].set(jnp.where(free[best], rank, ranks[best]))
    return ranks, total + jnp.where(free[best], features[best], 0)

  start = jnp.full((size,), size, jnp.int32), jnp.zeros_like(mean)
  return jax.lax.fori_loop(0, count, choose, start)[0]


def balanced(
  memory: Memory,
  inputs: jax.Array,
  targets: jax.Array,
  ranks: jax.Array,
  classes: jax.Array | int,
) -> Memory:
  """Returns a memory with equally many places for every class.

  Stored examples are ranked by their places, new ones by `ranks`; each class
  keeps its first ones.

  Args:
    memory: the memory, without logits.
    inputs: (n, ...) new examples in the storage format.
    targets: (n,) their classes, which are not in the memory yet.
    ranks: (n,) integers, the rank of each within its class.
    classes: number of classes; all targets are below it.
  """
  size = len(memory.targets)
  # At most `size` classes can have a place each.
  num_classes = min(size, jnp.iinfo(memory.targets.dtype).max + 1)
  old = jax.nn.one_hot(memory.targets, num_classes, dtype=jnp.int32)
  old = jnp.where(memory.filled[:, None], old, 0)
  old = jnp.where(memory.filled, (jnp.cumsum(old, 0) * old).sum(1) - 1, size)
  ranks = jnp.concatenate([old, ranks])
  labels = jnp.concatenate([memory.targets, targets.astype(jnp.int32)])
  stays = ranks < size // classes
  counts = jax.nn.one_hot(labels, num_classes, dtype=jnp.int32)
  counts = jnp.where(stays[:, None], counts, 0).sum(axis=0)
  first = jnp.cumsum(counts) - counts
  place = jnp.where(stays, first[labels] + ranks, size)

  def put(array, values):
    values = jnp.concatenate([array, values.astype(array.dtype)])
    return jnp.zeros_like(array).at[place].set(values, mode="drop")

  return memory._replace(
    inputs=put(memory.inputs, inputs),
    targets=put(memory.targets, targets),
    seen=stays.sum().astype(jnp.int32),
  )


def encode(inputs: jax.Array, low: float, high: float) -> jax.Array:
  """Quantizes numbers from low to high to 256 levels, uint8."""
  return jnp.round((inputs - low) * (255 / (high - low))).astype(jnp.uint8)


def decode(levels: jax.Array, low: float, high: float) -> jax.Array:
  """Inverts `encode`, up to a 510th of the range; returns float32."""
  return low + levels.astype(jnp.float32) * ((high - low) / 255)


def num_bytes(tree: PyTree) -> int:
  """Returns the bytes of all arrays of a pytree, or of their shapes."""
  leaves = jax.tree.leaves(tree)
  return sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)


def capacity(budget: int, held: int, each: int) -> int:
  """Returns how many exemplars fit into a budget.

  As in MEMO (arXiv:2205.13218): everything counts in bytes, and a learner with
  fewer parameters may keep more exemplars.

  Args:
    budget: total bytes.
    held: bytes of parameters and statistics.
    each: bytes of an exemplar.

  Returns:
    The number, negative if `held` exceeds the budget.
  """
  return (budget - held) // each
