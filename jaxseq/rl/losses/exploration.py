"""Epsilon-greedy actions. Epsilon itself follows `optax.linear_schedule`."""

import jax
import jax.numpy as jnp

Array = jax.Array


def epsilon_greedy(
  key: Array, q: Array, epsilon: float | Array, mask: Array | None = None
) -> Array:
  """Returns the best actions or, with probability epsilon, uniform ones.

  Args:
    key: random key.
    q: (*batch, n) action values.
    epsilon: probability of a uniform draw, of a shape that broadcasts to
      (*batch).
    mask: (*batch, n) bool, the actions to draw from; all if None. The
      values of the other actions must be -inf.

  Returns:
    (*batch) int32.
  """
  key_explore, key_action = jax.random.split(key)
  shape, n = q.shape[:-1], q.shape[-1]
  explore = jax.random.uniform(key_explore, shape) < epsilon
  if mask is not None:
    n = mask.sum(axis=-1)
  drawn = jax.random.randint(key_action, shape, 0, n, jnp.int32)
  if mask is not None:
    # The index of the drawn-th allowed action.
    reached = jnp.cumsum(mask, axis=-1) > drawn[..., None]
    drawn = jnp.argmax(reached, axis=-1).astype(jnp.int32)
  return jnp.where(explore, drawn, greedy(q))


def greedy(q: Array) -> Array:
  """Returns the best actions of action values (*batch, n): (*batch) int32."""
  return jnp.argmax(q, axis=-1).astype(jnp.int32)
