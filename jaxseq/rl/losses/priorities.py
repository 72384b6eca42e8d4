"""Priorities of sequences in a replay, and weights that correct their bias."""

import chex
import jax
import jax.numpy as jnp

Array = jax.Array


def sequence_priority(
  td_error: Array, mask_t: Array | None = None, *, max_share: float
) -> Array:
  """Returns sampling priorities of sequences from their TD errors.

      max_share * max_t |error_t| + (1 - max_share) * mean_t |error_t|

  Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
  Learning", ICLR 2019, section 2.3.

  Args:
    td_error: (*batch, time), 0 outside the mask.
    mask_t: (*batch, time) bool, the steps that count; all if None.
    max_share: in [0, 1]; 0.9 in the paper.

  Returns:
    (*batch).
  """
  size = jnp.abs(td_error)
  if mask_t is None:
    mean = size.mean(axis=-1)
  else:
    chex.assert_equal_shape([td_error, mask_t])
    mean = size.sum(axis=-1) / jnp.maximum(mask_t.sum(axis=-1), 1)
  return max_share * size.max(axis=-1) + (1 - max_share) * mean


def importance_weights(
  priority: Array, beta: float | Array, epsilon: float = 0.0
) -> Array:
  """Returns (1 / (priority + epsilon))^beta over its maximum: (batch,).

  Schaul et al., "Prioritized Experience Replay", arXiv:1511.05952, section 3.4.

  Args:
    priority: (batch,), the priorities by which entries were sampled.
    beta: how much of the bias is corrected, from 0 to 1.
    epsilon: added to the priorities, which may then be 0.
  """
  weights = (priority + epsilon) ** -beta
  return weights / weights.max()
