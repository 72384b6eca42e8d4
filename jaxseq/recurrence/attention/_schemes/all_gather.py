"""Attention over a sequence that is split over devices: all keys to all."""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.attention._schemes import blocks


def gather(problem: blocks.Problem, axis: str) -> jax.Array:
  """Averages of local queries over keys and values gathered on every device."""
  width = problem.q.shape[-1]
  packed = jnp.concatenate([problem.k, problem.v], axis=-1)
  packed = lax.all_gather(packed, axis)
  i = lax.axis_index(axis)

  def body(state, element):
    j, kv = element
    k, v = kv[..., :width], kv[..., width:]
    return blocks.accumulate(state, problem.q, k, v, problem.mask, i, j), None

  devices = jnp.arange(problem.mask.layout.devices)
  state, _ = lax.scan(body, problem.nothing, (devices, packed))
  return blocks.finish(problem, state)
