"""Attention over a split sequence: keys go round, and then values do."""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.attention._schemes import blocks
from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.shared import _collectives


def ring_self_attention(problem: blocks.Problem, axis: str) -> jax.Array:
  """Averages by complete rows of scores, and then values, from all devices."""
  # Each device computes its queries' scores with the whole sequence.
  mask, devices = problem.mask, problem.mask.layout.devices
  device = lax.axis_index(axis)
  steps, episodes = jnp.arange(devices), mask.segments is not None

  def visible(step):
    return mask.sight(device, (device - step) % devices).visible()

  def fill(k, step):
    block = blocks.scores(problem.q, k, visible(step))
    return _collectives.shift(k, axis), block

  k, row = lax.scan(fill, problem.k, steps[:-1])
  last = blocks.scores(problem.q, k, visible(devices - 1))
  row = jnp.concatenate([row, last[None]])  # (W, *batch, heads, time, time)
  m = lax.stop_gradient(jnp.max(row, axis=(0, -1)))
  # A query that sees no key has zero weights.
  weights = jnp.where(row == _softmax_state.NEG, 0, jnp.exp(row - m[..., None]))

  def weigh(carry, element):
    w, v = carry
    block, step = element
    w = w + blocks.read(block, v, visible(step), episodes)
    return (w, _collectives.shift(v, axis)), None

  (w, v), _ = lax.scan(
    weigh, (problem.nothing.w, problem.v), (weights[:-1], steps[:-1])
  )
  w = w + blocks.read(weights[-1], v, visible(devices - 1), episodes)
  state = blocks.SoftmaxState(m, jnp.sum(weights, axis=(0, -1)), w)
  return blocks.finish(problem, state)
