"""Attention over a sequence that is split over devices: all keys to all."""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.sharded_attention import blocks


def gather(
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
  """Gathers keys and values on every device, then attends locally.

  LASP-2H: Sun et al., "LASP-2", arXiv:2502.07563, section 3.4. One all_gather
  of W * groups * time * (d + e) elements, which stay in memory; few where heads
  share keys and values.

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
  width = problem.q.shape[-1]
  packed = jnp.concatenate([problem.k, problem.v], axis=-1)
  packed = lax.all_gather(packed, axis)
  own = lax.axis_index(axis)

  def body(state, element):
    j, kv = element
    k, v = kv[..., :width], kv[..., width:]
    return blocks.accumulate(state, problem.q, k, v, problem.mask, own, j), None

  devices = jnp.arange(problem.mask.layout.devices)
  state, _ = lax.scan(body, problem.nothing, (devices, packed))
  return blocks.finish(problem, state, init, jnp.asarray(q).dtype)
