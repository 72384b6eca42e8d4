"""Attention over a split sequence: queries go round, results go home."""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence import collectives
from jaxseq.recurrence import softmax_chunk
from jaxseq.recurrence.sharded_attention import blocks


def token_ring(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  *,
  axis: str,
  causal: bool = True,
  reset: jax.Array | None = None,
  init: blocks.SoftmaxState | None = None,
  order: str = "contiguous",
) -> jax.Array:
  """Passes queries on to the left and sends partial results straight home.

  Wang et al., "TokenRing", arXiv:2412.20501. Keys and values stay. In step t
  device i works on the queries of device i + t and sends (m, u, w), its share
  of their result, t devices to the right: where links work in both directions
  at once, both are used. W - 1 ppermutes of heads * time * d elements one way,
  and W - 1 of heads * time * (e + 2), in float32 or wider, the other.

  Args:
    q: this device's queries; arguments, result and errors are those of `ring`.
    k: this device's keys.
    v: this device's values.
    axis: name of the mesh axis over which time is split.
    causal: whether queries see nothing of the future.
    reset: where segments begin.
    init: averages that the queries come with.
    order: "contiguous" or "zigzag".

  Returns:
    The outputs.
  """
  problem = blocks.prepare(q, k, v, axis, causal, reset, init, order)
  mask, devices = problem.mask, problem.mask.layout.devices
  own = lax.axis_index(axis)
  visiting, state = problem.q, problem.nothing
  for step in range(devices):
    share = blocks.accumulate(
      problem.nothing,
      visiting,
      problem.k,
      problem.v,
      mask,
      (own + step) % devices,
      own,
    )
    if step:
      share = blocks.unpack(collectives.shift(blocks.pack(share), axis, step))
    state = softmax_chunk.softmax_combine(state, share)
    if step < devices - 1:
      visiting = collectives.shift(visiting, axis, -1)
  return blocks.finish(problem, state, init, jnp.asarray(q).dtype)
