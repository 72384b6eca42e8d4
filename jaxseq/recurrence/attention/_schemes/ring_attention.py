"""Attention over a sequence that is split over devices: keys go round."""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.attention._schemes import blocks
from jaxseq.recurrence.shared import _collectives


def ring(problem: blocks.Problem, axis: str) -> jax.Array:
  """Averages by keys and values that go from device to device."""
  packed = jnp.concatenate([problem.k, problem.v], axis=-1)
  mask, segments = problem.mask._replace(segments=None), problem.mask.segments
  state = _ring(axis, mask, problem.q, packed, problem.nothing, segments)
  state = state._replace(m=lax.stop_gradient(state.m))
  return blocks.finish(problem, state)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _ring(axis, mask, q, kv, nothing, segments):
  """Averages of q over the keys of all devices; kv are this device's own."""
  mask = mask._replace(segments=segments)
  device, devices = lax.axis_index(axis), mask.layout.devices
  width = q.shape[-1]

  def visit(state, kv, step):
    k, v, j = kv[..., :width], kv[..., width:], (device - step) % devices
    return blocks.accumulate(state, q, k, v, mask, device, j)

  def body(carry, step):
    state, kv = carry
    return (visit(state, kv, step), _collectives.shift(kv, axis)), None

  (state, kv), _ = lax.scan(body, (nothing, kv), jnp.arange(devices - 1))
  return visit(state, kv, devices - 1)


def _ring_forward(axis, mask, q, kv, nothing, segments):
  state = _ring(axis, mask, q, kv, nothing, segments)
  return state, (q, kv, segments, state)


def _ring_backward(axis, mask, residuals, cotangent):
  """Sums relative to the final m are linear: each block's slope is separate."""
  q, kv, segments, state = residuals
  mask = mask._replace(segments=segments)
  device, devices = lax.axis_index(axis), mask.layout.devices
  layout, width = mask.layout, q.shape[-1]
  d_state = cotangent._replace(m=jnp.zeros_like(cotangent.m))

  def visit(d_q, d_kv, kv, step):
    j = (device - step) % devices
    for a in range(layout.parts):
      m = layout.part(state.m, a, -1)
      d_part = blocks.split(d_state, layout, a)
      for c in range(layout.parts):

        def add(d, a=a, c=c, m=m, d_part=d_part):
          sight = mask.sight(device, j, a, c)

          def sums(q, kv):
            q, kv = layout.part(q, a), layout.part(kv, c)
            k, v = kv[..., :width], kv[..., width:]
            return blocks.attend(q, k, v, sight, m)

          _, pull = jax.vjp(sums, q, kv)
          return jax.tree.map(
            lambda x, y: x + y.astype(x.dtype), d, pull(d_part)
          )

        d_q, d_kv = blocks.where_needed(mask, device, j, a, c, add, (d_q, d_kv))
    return d_q, d_kv

  def body(carry, step):
    d_q, d_kv, kv = carry
    d_q, d_kv = visit(d_q, d_kv, kv, step)
    d_kv, kv = (_collectives.shift(x, axis) for x in (d_kv, kv))
    return (d_q, d_kv, kv), None

  wide = state.w.dtype
  d_q, d_kv = (jnp.zeros_like(x, dtype=wide) for x in (q, kv))
  carry, _ = lax.scan(body, (d_q, d_kv, kv), jnp.arange(devices - 1))
  d_q, d_kv, kv = carry
  d_q, d_kv = visit(d_q, d_kv, kv, devices - 1)
  if devices > 1:
    # The keys that arrived last are those of the device to the right.
    d_kv = _collectives.shift(d_kv, axis)
  nothing = jax.tree.map(jnp.zeros_like, state)
  return d_q.astype(q.dtype), d_kv.astype(kv.dtype), nothing, None


_ring.defvjp(_ring_forward, _ring_backward)
