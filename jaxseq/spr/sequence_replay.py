"""Sequences and stored memories from the ring of `replay`.

Beside the steps the ring holds the agent's memory before every `every`th one;
there sequences begin. So a memory is kept for each sequence, as in R2D2
(Kapturowski et al., ICLR 2019), and not for each step, and no frame is kept
twice although sequences overlap.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.rl.losses import priorities
from jaxseq.rl.replay import frames
from jaxseq.rl.replay import sum_tree
from jaxseq.spr import sequences

Array = jax.Array


class Sample(NamedTuple):
  """A batch, the slots (batch,) it starts in, their priorities (batch,)."""

  batch: sequences.Batch
  slot: Array
  priority: Array


def remember(
  config: frames.Config, state: frames.State, memory: Any
) -> frames.State:
  """Stores the memory before the step that is added next, where one is due.

  Args:
    config: options.
    state: before; `frames.add` is to follow.
    memory: the agent's.

  Returns:
    The state after.
  """
  place, rest = jnp.divmod(state.cursor, config.every)

  def write(ring, value):
    old = jax.lax.dynamic_index_in_dim(ring, place, keepdims=False)
    value = jnp.where(rest == 0, value, old)
    return jax.lax.dynamic_update_index_in_dim(ring, value, place, 0)

  return state._replace(memory=jax.tree.map(write, state.memory, memory))


def sample(
  config: frames.Config,
  sequence: sequences.Config,
  state: frames.State,
  uniform: sum_tree.Double | Array,
  *,
  beta: float | Array,
  num_steps: int | Array,
  gamma: float | Array,
) -> Sample:
  """Draws sequences, with replacement; `frames.num_starts` must not be 0.

  Args:
    config: options, of a ring with memories.
    sequence: of the sequences.
    state: the ring.
    uniform: (batch,) in [0, 1), from `frames.draw`.
    beta: exponent of the importance weights.
    num_steps: n, at most config.max_steps; may be traced.
    gamma: discount; may be traced.

  Returns:
    What an update needs.

  Raises:
    ValueError: if n is an integer beyond config.max_steps.
  """
  slot = sum_tree.sample(state.priorities, uniform)
  priority = sum_tree.get(state.priorities, slot)
  batch = take(config, sequence, state, slot, num_steps=num_steps, gamma=gamma)
  weight = priorities.importance_weights(priority, beta, 1e-5)
  return Sample(batch._replace(weight=weight), slot, priority)


def take(
  config: frames.Config,
  sequence: sequences.Config,
  state: frames.State,
  slot: Array,
  *,
  num_steps: int | Array,
  gamma: float | Array,
) -> sequences.Batch:
  """Returns the sequences that start in (batch,) slots, with weights 1.

  Raises:
    ValueError: if n is an integer beyond config.max_steps.
  """
  ahead = config.num_predictions
  window = sequence.span + max(config.max_steps, ahead)
  places = slot + jnp.arange(window, dtype=jnp.int32)[:, None]
  rows = places[sequence.burn_in : sequence.span].reshape(-1)
  around = frames.sequences(
    config, state, rows, num_steps=num_steps, gamma=gamma
  )
  return sequences.Batch(
    observation=frames.observations(config, state, places),
    reset=state.done[(places - 1) % config.capacity],
    memory=jax.tree.map(lambda x: x[slot // config.every], state.memory),
    num_steps=jnp.asarray(num_steps, jnp.int32),
    action=around.prev_action[1 : max(ahead, 1) + 1],
    return_n=around.return_n[0],
    discount=jnp.asarray(gamma, config.dtype) ** num_steps,
    done=around.done,
    done_n=around.done_n[0],
    weight=jnp.ones(slot.shape, config.dtype),
  )
