"""Group word problems: state tracking.

Tokens are elements of a finite group G, uniform and independent over all of it
or over a few generators; the target at every element is the product so
far, s_t = s_{t-1} o g_t with s_0 the identity. As permutations (a o b)(x) =
a(b(x)): g_t is applied first.

A diagonal linear recurrence of fixed depth can follow Z_60, but not A_5 as the
words grow, nor S_5: these are not solvable (arXiv 2404.08819).
"""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.data.tokens import sampling

GROUPS = ("A4xZ5", "A5", "S3", "S5", "Z60")
ALPHABETS = ("all", "generators")
# Permutations as images of 0, 1, ...; other elements by number.
_GENERATORS = {
  "A4xZ5": ((0, 2, 3, 1), (1, 2, 0, 3)),
  "A5": ((1, 2, 0, 3, 4), (1, 2, 3, 4, 0)),
  "S3": ((1, 0, 2), (1, 2, 0)),
  "S5": ((1, 0, 2, 3, 4), (1, 2, 3, 4, 0)),
}


class Group(NamedTuple):
  """A finite group.

  Attributes:
    table: (order, order) int32; table[a, b] is a o b.
    identity: number of the identity.
  """

  table: np.ndarray
  identity: int


def _permutations(size, even):
  """All permutations, or the even ones, sorted; and their numbers."""
  rows = list(itertools.permutations(range(size)))
  if even:
    pairs = list(itertools.combinations(range(size), 2))
    rows = [p for p in rows if sum(p[i] > p[j] for i, j in pairs) % 2 == 0]
  return np.array(rows), {p: i for i, p in enumerate(rows)}


def _permutation_group(size, even):
  elements, numbers = _permutations(size, even)
  products = elements[:, elements]  # [a, b, x] = a(b(x))
  table = [[numbers[tuple(p)] for p in row] for row in products]
  return Group(np.array(table, np.int32), numbers[tuple(range(size))])


def _cyclic_group(order):
  numbers = np.arange(order, dtype=np.int32)
  return Group((numbers[:, None] + numbers) % np.int32(order), 0)


def _product_group(first, second):
  """Pairs (a, b), numbered a * order(second) + b."""
  size = len(second.table)
  a, b = np.divmod(np.arange(len(first.table) * size), size)
  table = first.table[a[:, None], a] * size + second.table[b[:, None], b]
  return Group(table.astype(np.int32), first.identity * size + second.identity)


@functools.cache
def group(name: str) -> Group:
  """Returns a group.

  Args:
    name: "Z60" (numbers mod 60), "A4xZ5" (pairs), "A5", "S3" or "S5"
      (permutations in lexicographic order).

  Returns:
    The group; its arrays are shared and must not be written to.

  Raises:
    ValueError: if there is no such group.
  """
  validate.choice("group", name, GROUPS)
  if name == "Z60":
    return _cyclic_group(60)
  if name == "A4xZ5":
    return _product_group(_permutation_group(4, even=True), _cyclic_group(5))
  return _permutation_group(int(name[1]), even=name[0] == "A")


@functools.cache
def generators(name: str) -> tuple[int, ...]:
  """Returns the numbers of a few elements that generate a group.

  Args:
    name: name of the group.

  Returns:
    For "A5" a cycle of three and one of five, for "S3" and "S5" a transposition
    and a cycle of all, for "A4xZ5" two cycles of three and a step, for "Z60" a
    step forward and one back.

  Raises:
    ValueError: if there is no such group.
  """
  group(name)  # Checks the name.
  if name == "Z60":
    return (1, 59)
  cycles = _GENERATORS[name]
  _, numbers = _permutations(len(cycles[0]), even=name[0] == "A")
  indices = tuple(numbers[cycle] for cycle in cycles)
  if name == "A4xZ5":
    return (*(5 * number for number in indices), 1)
  return indices


@dataclasses.dataclass(frozen=True)
class Config(sampling.TokenClasses, sampling.StringConfig):
  """Options of group word problems.

  Attributes:
    group: name of the group, see `group`.
    alphabet: "all" elements of the group, or its "generators".
    min_length: smallest number of elements.
    max_length: largest number of elements; every sequence is padded to it with
      the identity.
  """

  group: str = "A5"
  alphabet: str = "all"
  min_length: int = 3
  max_length: int = 30

  def __post_init__(self):
    group(self.group)
    validate.choice("alphabet", self.alphabet, ALPHABETS)
    super().__post_init__()

  @property
  def vocab_size(self) -> int:
    """Number of tokens: the order of the group."""
    return len(group(self.group).table)


def sample(key: jax.Array, config: Config) -> sampling.TokenBatch:
  """Samples group word problems.

  The mask is True on the elements of each word.
  """
  table, identity = group(config.group)
  table = jnp.asarray(table)
  if config.alphabet == "all":
    letters = jnp.arange(config.vocab_size)
  else:
    letters = jnp.asarray(generators(config.group))

  key_length, key_word = jax.random.split(key)
  length = sampling.draw_length(key_length, config)
  counted = jnp.arange(config.max_length) < length
  word = sampling.integers(key_word, (config.max_length,), 0, len(letters))
  word = letters[word]
  word = jnp.where(counted, word, identity)

  def multiply(state, element):
    state = table[state, element]
    return state, state

  _, products = jax.lax.scan(multiply, jnp.int32(identity), word)
  return sampling.TokenBatch(word, products, counted)


GROUP_WORDS = sampling.Task(Config, sample)
