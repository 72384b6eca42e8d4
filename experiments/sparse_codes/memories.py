"""Memories of sparse codes that store an item in one presentation.

    config = memories.Config(width=200)
    memory = memories.init(config)
    memory, stored = memories.store(config, memory, items, key)
    memories.recall(memory, parts)  # codes
    memories.familiarity(memory, items)  # 1 of what was stored

A code is one unit of each module. The more familiar an input, the more surely a
module picks its best-matching unit; for a new input it draws one. So similar
inputs share units, and unrelated ones do only by chance. Weights are bits,
which are set once and have no gradient: the memory fills up, and to a full
memory every input is familiar.

Rinkus, "Superposed episodic and semantic memory via sparse distributed
representation", arXiv:1710.07829; the constants are those of
pulinagrawal/sparsey-csa.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq import validate

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """Sizes of a memory, and the curve of its draws.

  A unit with overlap V is drawn with weight 1 + amplitude G^power
  sigmoid(slope V + shift), where G is the familiarity.

  Attributes:
    width: width of the inputs.
    modules: number of units of a code.
    units: number of units of a module, one of which is active in a code.
    amplitude: weight of a unit that matches a familiar input.
    power: how fast the draws become certain with familiarity.
    slope: slope of the sigmoid.
    shift: shift of the sigmoid.
  """

  width: int
  modules: int = 64
  units: int = 8
  amplitude: float = 1e4
  power: float = 7.0
  slope: float = 26.0
  shift: float = -13.0

  def __post_init__(self):
    validate.fields(self, positive=("width", "modules", "units"))
    for name in ("amplitude", "power", "slope"):
      validate.above_zero(name, getattr(self, name))
    validate.number("shift", self.shift)


class Stored(NamedTuple):
  """Codes and familiarities of items when they were stored.

  Attributes:
    code: (..., modules) int32, the unit of each module.
    familiarity: (...), from 0 to 1, before the item itself was stored.
  """

  code: Array
  familiarity: Array


def init(config: Config, batch_shape: tuple[int, ...] = ()) -> Array:
  """Returns the bits (*batch_shape, modules, units, width) without items."""
  shape = (*batch_shape, config.modules, config.units, config.width)
  return jnp.zeros(shape, bool)


def overlaps(memory: Array, x: Array) -> Array:
  """Computes the share of each input that each unit matches.

  Args:
    memory: (*batch, modules, units, width) bool.
    x: (*batch, width) numbers of 0 or 1; other axes of either are broadcast.

  Returns:
    (*batch, modules, units), from 0 to 1; 0 for an input without any 1.

  Raises:
    ValueError: if the width does not fit.
  """
  validate.shape("x", x, ("*batch", memory.shape[-1]))
  x = jnp.asarray(x)
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  size = jnp.sum(x, axis=-1)[..., None, None]
  hits = jnp.einsum("...qkn,...n->...qk", memory.astype(x.dtype), x)
  return hits / jnp.maximum(size, 1)


def familiarity(memory: Array, x: Array) -> Array:
  """Returns (*batch,) means over modules of the greatest of `overlaps`."""
  return jnp.mean(jnp.max(overlaps(memory, x), axis=-1), axis=-1)


def probabilities(config: Config, overlap: Array) -> Array:
  """Computes the probability of drawing each unit.

  Args:
    config: options of the memory.
    overlap: (..., modules, units), from `overlaps`.

  Returns:
    (..., modules, units), with sum 1 over the units.
  """
  known = jnp.mean(jnp.max(overlap, axis=-1), axis=-1)[..., None, None]
  sigmoid = jax.nn.sigmoid(config.slope * overlap + config.shift)
  weight = 1 + config.amplitude * known**config.power * sigmoid
  return weight / jnp.sum(weight, axis=-1, keepdims=True)


def store_one(
  config: Config, memory: Array, x: Array, uniform: Array
) -> tuple[Array, Stored]:
  """Stores one item of each batch row.

  Args:
    config: options of the memory.
    memory: (*batch, modules, units, width) bool.
    x: (*batch, width) numbers of 0 or 1.
    uniform: (*batch, modules), from 0 to 1; the first unit whose cumulative
      probability reaches it is stored.

  Returns:
    The memory with the item, and its code.
  """
  overlap = overlaps(memory, x)
  sums = jnp.cumsum(probabilities(config, overlap), axis=-1)
  below = jnp.sum(sums < uniform[..., None], axis=-1)
  # Rounded sums may end below 1.
  code = jnp.minimum(below, config.units - 1).astype(jnp.int32)
  taken = jax.nn.one_hot(code, config.units, dtype=bool)
  bits = jnp.asarray(x)[..., None, None, :] > 0
  known = jnp.mean(jnp.max(overlap, axis=-1), axis=-1)
  return memory | (taken[..., None] & bits), Stored(code, known)


def store(
  config: Config, memory: Array, items: Array, key: Array
) -> tuple[Array, Stored]:
  """Stores items one after the other.

  Args:
    config: options of the memory.
    memory: (*batch, modules, units, width) bool.
    items: (*batch, time, width) numbers of 0 or 1.
    key: random key of the draws.

  Returns:
    The memory with the items, and their codes (*batch, time, modules).

  Raises:
    ValueError: if a shape does not fit.
  """
  sizes = config.modules, config.units, config.width
  batch = validate.shape("memory", memory, ("*batch", *sizes))[:-3]
  shape = validate.shape("items", items, (*batch, "time", config.width))
  draws = jax.random.uniform(key, (*shape[:-1], config.modules))
  stored, memory = recurrence.fold(
    lambda memory, one: store_one(config, memory, *one),
    memory,
    (jnp.asarray(items), draws),
  )
  return memory, stored


def recall(memory: Array, x: Array) -> Array:
  """Finds the code of an input, or of a part of one, without randomness.

  Args:
    memory: (*batch, modules, units, width) bool.
    x: (*batch, width) numbers of 0 or 1, see `overlaps`.

  Returns:
    (*batch, modules) int32, the unit of each module with the largest overlap;
    the first of equal ones.
  """
  return jnp.argmax(overlaps(memory, x), axis=-1).astype(jnp.int32)


def contents(memory: Array, code: Array) -> Array:
  """Returns the share of a code's units that have each input bit.

  Args:
    memory: (*batch, modules, units, width) bool.
    code: (*batch, modules) integers.

  Returns:
    (*batch, width) float32, 1 at all places of the item with this code.
  """
  taken = jax.nn.one_hot(code, memory.shape[-2], dtype=jnp.float32)
  bits = memory.astype(jnp.float32)
  return jnp.einsum("...qkn,...qk->...n", bits, taken) / memory.shape[-3]
