"""The core of S5 on Hopper, in one kernel: y = Re(C h) + D u, h = a h + B u.

In the backward pass, cotangents replace inputs, and the two matrices swap
roles. Products have 10 bits, JAX's default for float32 on such a GPU.
"""

import jax
import jax.numpy as jnp

from jaxseq.kernels.linear import _parts as _linear_parts
from jaxseq.kernels.lti import _gpu_parts
from jaxseq.kernels.lti import _gpu_tiles

Walk = _gpu_parts.Walk
_add, _times, _conj = _linear_parts.add, _linear_parts.times, _linear_parts.conj


def states(
  walk: Walk,
  a: jax.Array,
  w_in: jax.Array,
  w_out: jax.Array,
  D: jax.Array | None,
  u: jax.Array,
  init: jax.Array,
  flags: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns states h_t = a h_{t-1} + w_in u_t, outputs w_out h_t + D u_t."""

  def step(x, carry):
    h = _add(x.kept(_times(x.a, carry)), x.b)
    h = x.passing(carry, h)
    return h, h

  h, y, last = _gpu_tiles.along_time(
    step, walk, a, w_in, (w_out, D), u, (init,), flags
  )
  return h, y, last


def summary(
  walk: Walk,
  a: jax.Array,
  w_in: jax.Array,
  u: jax.Array,
  flags: jax.Array | None,
  adjoint: bool,
) -> tuple[jax.Array, jax.Array]:
  """Returns a row's factor and addend [R, S] for a state or adjoint carry."""

  def step(x, carry):
    half = len(carry) // 2
    factor, addend = carry[:half], carry[half:]
    after = x.kept(_times(x.a, factor))
    if adjoint:
      through = x.kept(_times(x.a, _add(addend, x.b)))
    else:
      through = _add(x.kept(_times(x.a, addend)), x.b)
    return x.passing(carry, after + through), ()

  S = a.shape[0]
  zero = jnp.zeros_like(u, shape=(u.shape[0], S))
  one = zero.at[:, : S // walk.parts].set(1)
  a = _conjugate(walk, a) if adjoint else a
  *_, factor, addend = _gpu_tiles.along_time(
    step, walk, a, w_in, (), u, (one, zero), flags
  )
  return factor, addend


def gradient(
  walk: Walk,
  a: jax.Array,
  w_in: jax.Array,
  w_out: jax.Array,
  D: jax.Array | None,
  g: jax.Array,
  g_final: jax.Array,
  flags: jax.Array | None,
  h: jax.Array,
  before: jax.Array,
) -> tuple[jax.Array, ...]:
  """Returns cotangents lam [R, T, S], du [R, T, H], mu and of a [R, S]."""
  # lam_t = w_out^T g_t + mu_{t+1}, mu_t = a^* lam_t, du_t = w_in^T lam_t + D
  # g_t, from the end, unless the states run backward; `g_final` [R, S] is the
  # cotangent of the last state, and `before` [R, S] has the states before each
  # row.

  def step(x, carry):
    mu, da = carry[: walk.parts], carry[walk.parts :]
    lam = _add(x.b, mu)
    after = x.kept(_times(x.a, lam))
    da_after = _add(da, x.kept(_times(lam, _conj(x.h))))
    return x.passing(carry, after + da_after), lam

  zero = jnp.zeros_like(g_final)
  return _gpu_tiles.along_time(
    step,
    walk,
    _conjugate(walk, a),
    w_out.T,
    (w_in.T, D),
    g,
    (g_final, zero),
    flags,
    h,
    before,
  )


def _conjugate(walk, a):
  half = a.shape[0] // walk.parts
  return a if walk.parts == 1 else a.at[half:].multiply(-1)
