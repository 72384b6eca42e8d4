"""Sequences with stored memories from the ring of `frames`.

    slots         s .. s+burn_in-1   .. s+burn_in+length-1   .. s+window-1
    what for      memory brought up  learned from            targets
                  to date

Beside the steps the ring holds the agent's memory before every `every`th one;
there sequences begin. So a memory is kept for each sequence, as in R2D2
(Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
Learning", ICLR 2019), and not for each step, and no frame is kept twice
although sequences overlap.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl.replay import frames

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of sequences.

  Attributes:
    length: steps that are learned from; sequences begin so many steps apart, so
      that each step is learned from in one of them.
    burn_in: steps before those, which renew the stored memory.
    priority_max_share: weight of the greatest priority of a sequence's steps
      against their mean.
  """

  length: int = 16
  burn_in: int = 16
  priority_max_share: float = 0.9

  def __post_init__(self):
    _validate.positive("length", self.length)
    _validate.integer("burn_in", self.burn_in, 0)
    _validate.fields(self, shares=("priority_max_share",))

  @property
  def span(self) -> int:
    """Steps from the first to the last one that is learned from."""
    return self.burn_in + self.length


class Batch(NamedTuple):
  """Sequences to learn from; K is 0 without self-prediction.

  Rows are the steps that are learned from: (batch, length), flattened. The
  fields that have them are as in `frames.Batch`.

  Attributes:
    observation: (batch, window, *observation_shape); images are uint8, or
      floating in [0, 1]; the window is burn_in + length + the larger of K and
      any n.
    reset: (batch, window) bool, whether an episode begins there.
    memory: the online network's before the first observation, with a leading
      axis batch.
    num_steps: () int32, n.
    action: (rows, max(K, 1)) int32.
    return_n: (rows,).
    discount: () or (rows,).
    done: (rows, K + 1) bool.
    done_n: (rows,) bool.
    weight: (batch,) importance weights.
  """

  observation: Array
  reset: Array
  memory: PyTree
  num_steps: Array
  action: Array
  return_n: Array
  discount: Array
  done: Array
  done_n: Array
  weight: Array


def remember(
  config: frames.Config, state: frames.State, memory: PyTree
) -> frames.State:
  """Stores the memory before the step that `frames.add` adds next, if due."""
  place, rest = jnp.divmod(state.cursor, config.every)

  def write(ring, value):
    old = jax.lax.dynamic_index_in_dim(ring, place, keepdims=False)
    value = jnp.where(rest == 0, value, old)
    return jax.lax.dynamic_update_index_in_dim(ring, value, place, 0)

  return state._replace(memory=jax.tree.map(write, state.memory, memory))


def take(
  config: frames.Config,
  state: frames.State,
  slot: Array,
  *,
  sequence: Config,
  num_steps: int | Array,
  gamma: float | Array,
) -> Batch:
  """Returns the sequences that start in (batch,) slots, with weights 1.

  For `frames.sample`, with the options `sequence` given before: the other
  arguments are as there.

  Raises:
    ValueError: if n is an integer beyond config.max_steps.
  """
  window = sequence.span + max(config.max_steps, config.num_predictions)
  places = slot[:, None] + jnp.arange(window, dtype=jnp.int32)
  rows = places[:, sequence.burn_in : sequence.span].reshape(-1)
  options = {"num_steps": num_steps, "gamma": gamma}
  after = frames.following(config, state, rows, **options)
  return Batch(
    observation=frames.observations(config, state, places),
    reset=state.done[(places - 1) % config.capacity],
    memory=jax.tree.map(lambda x: x[slot // config.every], state.memory),
    num_steps=jnp.asarray(num_steps, jnp.int32),
    **frames.learned(config, after, **options),
    weight=jnp.ones(slot.shape, config.dtype),
  )
