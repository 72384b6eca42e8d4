"""Batches of tokens, and random draws that the tasks of this folder share."""

from collections.abc import Callable
import dataclasses
from typing import Any
from typing import ClassVar
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate


class TokenBatch(NamedTuple):
  """A batch of sequences with a target for each element.

  Attributes:
    inputs: (batch, time) int32 tokens; (batch, time, features) float32 in the
      tasks on signals.
    targets: (batch, time) int32 classes, 0 where the mask is False; (batch,
      time, features) float32 in the tasks on signals.
    mask: (batch, time) bool, True at scored elements.
  """

  inputs: jax.Array
  targets: jax.Array
  mask: jax.Array


class Task(NamedTuple):
  """A task that is sampled on the device.

  Attributes:
    config: class of its options: a frozen dataclass with the properties `time`,
      `vocab_size` and `num_classes`, which need no device; the last two are
      None in the tasks on signals, which have `features` instead. An optional
      property `scored` is the number of elements in the mask, if it is the
      same in every sequence.
    sample_one: function from a random key and the options to a `TokenBatch`
      without the batch axis. Targets outside the mask are ignored.
  """

  config: type
  sample_one: Callable[[jax.Array, Any], TokenBatch]

  def sample(self, key: jax.Array, config: Any, batch_size: int) -> TokenBatch:
    """Samples a batch, with a key for each sequence.

    Args:
      key: random key.
      config: options; static under `jit`.
      batch_size: number of sequences; static under `jit`.

    Returns:
      The batch; tokens are int32 and targets outside the mask are 0.
    """
    keys = jax.random.split(key, batch_size)
    batch = jax.vmap(lambda key: self.sample_one(key, config))(keys)
    inputs, targets, mask = batch
    if jnp.issubdtype(targets.dtype, jnp.integer):
      inputs = inputs.astype(jnp.int32)
      targets = jnp.where(mask, targets, 0).astype(jnp.int32)
    return TokenBatch(inputs, targets, mask)


@dataclasses.dataclass(frozen=True)
class StringConfig:
  """Options of a task on strings of random length, padded to the longest.

  Attributes:
    min_length: smallest number of symbols of the string.
    max_length: largest number of symbols of the string.
  """

  min_length: int = 1
  max_length: int = 40

  smallest: ClassVar[int] = 1

  def __post_init__(self):
    validate.at_least(self, min_length=self.smallest)
    validate.at_least(self, max_length=self.min_length)

  @property
  def time(self) -> int:
    """Length of a padded sequence."""
    return self.max_length


class GivenLength:
  """Base of the options of tasks whose sequences have one `length`."""

  length: int

  @property
  def time(self) -> int:
    """Length of a sequence."""
    return self.length


class TokenClasses:
  """Base of the options of tasks whose targets are tokens."""

  vocab_size: Any

  @property
  def num_classes(self) -> int:
    """Number of classes of the targets: the number of tokens."""
    return self.vocab_size


def integers(
  key: jax.Array, shape: tuple[int, ...], low: Any, high: Any
) -> jax.Array:
  """Draws integers from low .. high - 1.

  Uses one draw of 32 bits modulo the span: probabilities differ by less than
  (high - low) / 2^32. `jax.random.randint` makes three draws for more accuracy,
  and takes three times as long to compile.

  Args:
    key: random key.
    shape: shape of the result.
    low: smallest integer, a number or a scalar array.
    high: exclusive upper bound, at least low + 1.

  Returns:
    Integers int32 of the shape.
  """
  span = jnp.asarray(high - low, jnp.uint32)
  return low + (jax.random.bits(key, shape, jnp.uint32) % span).astype(
    jnp.int32
  )


def distinct(
  key: jax.Array, count: int, size: int, logits: jax.Array | None = None
) -> jax.Array:
  """Draws distinct integers one after the other.

  Args:
    key: random key.
    count: number of draws.
    size: number of candidates, 0 .. size - 1.
    logits: (size,) log-weights of the integers; equal if None.

  Returns:
    (count,) int32, in the order drawn.
  """
  # The top k of weights plus Gumbel noise are a draw without replacement.
  scores = jax.random.gumbel(key, (size,))
  if logits is not None:
    scores = scores + logits
  return jax.lax.top_k(scores, count)[1].astype(jnp.int32)


def draw_length(key: jax.Array, config: StringConfig) -> jax.Array:
  """Draws a length uniformly from min_length .. max_length."""
  return integers(key, (), config.min_length, config.max_length + 1)
