"""`lti_scan` without kernels: chunks of time, with products around the states.

Complex numbers are (real, imaginary) pairs side by side, [..., 2P], so that
both projections are single real products.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _resets


class System(NamedTuple):
  """The system in real form; S is P for a real system and 2P for a complex."""

  a: tuple[jax.Array, ...]  # ([P],), or real and imaginary part
  w_in: jax.Array  # [H, S]
  w_out: jax.Array  # [S, M]
  D: jax.Array | None  # [M] with M == H


class Options(NamedTuple):
  """Static options of the states' computation."""

  reverse: bool  # run from the last element to the first
  method: str  # of `linear_scan` inside a chunk; neither "auto" nor "pallas"
  chunk_size: int  # elements per chunk


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def run(
  system: System,
  u: jax.Array,
  init: tuple[jax.Array, ...],
  reset: jax.Array | None,
  options: Options,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  """Runs the recurrence."""
  return _forward(system, u, init, reset, options)[0]


def _forward(system, u, init, reset, options):
  rows, time, _ = u.shape
  size = options.chunk_size
  rounded = _rounded(system, u)

  def chunk(h, y, start, length):
    u_c = _time_major(u, start, length)
    reset_c = None if reset is None else _time_major(reset, start, length)
    after, states = _states(rounded, u_c, h, reset_c, options)
    y_c = _dot(states, rounded.w_out)
    if system.D is not None:
      y_c = y_c + system.D * u_c
    return after, _write(y, y_c, start), h

  y = jnp.zeros_like(u, shape=(rows, time, system.w_out.shape[1]))
  folded = _over_chunks(chunk, init, y, time, size, options.reverse)
  h, y, boundaries, tail = folded
  return (y, h), (system, u, init, reset, boundaries, tail)


def _rounded(system, u):
  """Casts matrices to the dtype of the products, once for all chunks."""
  dtype = _contractions.operand_dtype(u.dtype, system.w_in.dtype)
  w_in, w_out = (w.astype(dtype) for w in (system.w_in, system.w_out))
  return system._replace(w_in=w_in, w_out=w_out)


def _backward(options, residuals, cotangents):
  """One reverse pass over the chunks, each recomputed from its first state."""
  system, u, init, reset, boundaries, tail = residuals
  g, g_final = cotangents
  rows, time, _ = u.shape
  rounded = _rounded(system, u)
  w_in_t, w_out_t = rounded.w_in.T, rounded.w_out.T
  outer = functools.partial(_outer, dtype=w_in_t.dtype)

  def chunk(carry, du, start, length, h):
    adjoint, grads = carry
    u_c = _time_major(u, start, length)
    g_c = _time_major(g, start, length)
    reset_c = None if reset is None else _time_major(reset, start, length)
    _, states = _states(rounded, u_c, h, reset_c, options)
    adjoint, lam = _adjoint(
      system, _dot(g_c, w_out_t), states, adjoint, reset_c, options
    )
    du_c = _dot(lam, w_in_t)
    d_D = None
    if system.D is not None:
      du_c = du_c + system.D * g_c
      d_D = jnp.sum(g_c.astype(system.D.dtype) * u_c, axis=(0, 1))
    new = outer(u_c, lam), outer(states, g_c), d_D
    grads = jax.tree.map(jnp.add, grads, new)
    return (adjoint, grads), _write(du, du_c, start), None

  mu = tuple(g_final)
  zeros = tuple(jnp.zeros_like(part) for part in mu)
  grads = jax.tree.map(jnp.zeros_like, (system.w_in, system.w_out, system.D))
  fresh = None if reset is None else jnp.zeros_like(reset[:, 0])
  carry = (mu, zeros, fresh, zeros), grads
  size, saved = options.chunk_size, (boundaries, tail)
  carry, du, _, _ = _over_chunks(
    chunk, carry, jnp.zeros_like(u), time, size, not options.reverse, saved
  )
  (mu, later, fresh, d_a), grads = carry
  d_a = _add(d_a, _forget(fresh, _product_conj(later, init)))
  d_a = tuple(jnp.sum(part, axis=0) for part in d_a)
  return System(d_a, *grads), du, mu, None


run.defvjp(_forward, _backward)


def _over_chunks(chunk, carry, out, time, size, reverse, extra=None):
  """Runs `chunk` over time; returns the carry, filled `out`, other results."""
  # If the length is not a multiple of `size`, the remainder is a shorter chunk
  # at the end of time. The other results are stacked for the whole chunks, and
  # then those of the remainder.
  count, rest = divmod(time, size)
  stacked = tail = None

  def whole(carry_out, x):
    index, extra_c = x
    args = () if extra is None else (extra_c,)
    carry, out, third = chunk(*carry_out, index * size, size, *args)
    return (carry, out), third

  def remainder(carry, out):
    args = () if extra is None else (extra[1],)
    return chunk(carry, out, count * size, rest, *args)

  if rest and reverse:
    carry, out, tail = remainder(carry, out)
  xs = (jnp.arange(count), None if extra is None else extra[0])
  (carry, out), stacked = lax.scan(whole, (carry, out), xs, reverse=reverse)
  if rest and not reverse:
    carry, out, tail = remainder(carry, out)
  return carry, out, stacked, tail


def _states(system, u, h, reset, options):
  """States [T, B, S] of a chunk u [T, B, H], and the state after it."""
  Bu = _dot(u, system.w_in)
  if options.method != "sequential":
    return _states_by_scan(system, Bu, h, reset, options)

  def body(h, x):
    Bu_t, reset_t = x
    h = _affine(system.a, _forget(reset_t, h), _split(Bu_t, system.a))
    return h, jnp.concatenate(h, axis=-1)

  return lax.scan(body, h, (Bu, reset), reverse=options.reverse)


def _states_by_scan(system, Bu, h, reset, options):
  """Result of `_states`, through `linear_scan`: few and large operations."""
  a, Bu = join(system.a), join(_split(Bu, system.a)).swapaxes(0, 1)
  h, reset = join(h), None if reset is None else reset.swapaxes(0, 1)
  settings = {"reverse": options.reverse, "method": options.method}
  states, final = linear.linear_scan(a, Bu, h, reset=reset, **settings)
  states = _parts(states.swapaxes(0, 1), system.a)
  return _parts(final, system.a), jnp.concatenate(states, axis=-1)


def _adjoint(system, g, states, carry, reset, options):
  """Runs a chunk backward: lam_t = g_t + mu_{t+1} with mu_t = a^T lam_t."""
  if options.method != "sequential":
    return _adjoint_by_scan(system, g, states, carry, reset, options)

  def body(carry, x):
    mu, later, fresh, d_a = carry
    g_t, h_t, reset_t = x
    # The product is set to 0, not a factor: the state may be inf or nan.
    product = _product_conj(later, _split(h_t, system.a))
    d_a = _add(d_a, _forget(fresh, product))
    lam = _add(mu, _split(g_t, system.a))
    mu = _product_conj(_forget(reset_t, lam), system.a)
    return (mu, lam, reset_t, d_a), jnp.concatenate(lam, axis=-1)

  return lax.scan(body, carry, (g, states, reset), reverse=not options.reverse)


def _adjoint_by_scan(system, g, states, carry, reset, options):
  """Result of `_adjoint`, by `linear_scan` with the conjugate decay."""
  mu, later, fresh, d_a = carry
  first, last = (-1, 0) if options.reverse else (0, -1)
  g = join(_split(g, system.a)).at[last].add(join(mu)).swapaxes(0, 1)
  a = jnp.conj(join(system.a))
  shift = 1 if options.reverse else -1
  # The flag that wraps around meets a zero state.
  after = None if reset is None else jnp.roll(reset.swapaxes(0, 1), shift, 1)
  lam, _ = linear.linear_scan(
    a, g, reset=after, reverse=not options.reverse, method=options.method
  )
  lam = _parts(lam.swapaxes(0, 1), system.a)

  def next_of(x, carried):
    return jnp.roll(x, shift, axis=0).at[last].set(carried)

  # Each state is multiplied by the lam of the element after it.
  lam_after = tuple(map(next_of, lam, later))
  products = _product_conj(lam_after, _split(states, system.a))
  first_reset = None
  if reset is not None:
    products = _forget(next_of(reset, fresh), products)
    first_reset = reset[first]
  d_a = _add(d_a, tuple(jnp.sum(part, axis=0) for part in products))
  later = tuple(part[first] for part in lam)
  mu = _product_conj(_forget(first_reset, later), system.a)
  return (mu, later, first_reset, d_a), jnp.concatenate(lam, axis=-1)


def _forget(reset, x):
  """Zeros if `reset` is set, by parts; no change if it is None."""
  if reset is None:
    return x
  return tuple(_resets.forget(reset, part) for part in x)


def _split(x, a):
  """[..., S] -> its parts, as many as `a` has."""
  return (x,) if len(a) == 1 else tuple(jnp.split(x, 2, axis=-1))


def join(parts: tuple[jax.Array, ...]) -> jax.Array:
  """A real or complex array from its parts."""
  return parts[0] if len(parts) == 1 else lax.complex(*parts)


def _parts(x, a):
  """A real or complex array -> its parts, as many as `a` has."""
  return (x,) if len(a) == 1 else (jnp.real(x), jnp.imag(x))


def _affine(a, h, b):
  """State a h + b, by parts."""
  if len(a) == 1:
    return (a[0] * h[0] + b[0],)
  return (a[0] * h[0] - a[1] * h[1] + b[0], a[0] * h[1] + a[1] * h[0] + b[1])


def _add(x, y):
  """Sum x + y, by parts."""
  return tuple(map(jnp.add, x, y))


def _product_conj(x, y):
  """Product x conj(y), by parts: the transpose of multiplication by y."""
  if len(x) == 1:
    return (x[0] * y[0],)
  return x[0] * y[0] + x[1] * y[1], x[1] * y[0] - x[0] * y[1]


def _dot(x, w):
  """[T, B, n] @ [n, m], of operands in the dtype of w."""
  flat = x.reshape(-1, x.shape[-1])
  product = _contractions.einsum("tn,nm->tm", flat, w, w.dtype)
  return product.reshape(x.shape[:-1] + w.shape[1:])


def _outer(x, y, dtype):
  """Sum over time and batch of x y^T: [T, B, n], [T, B, m] -> [n, m]."""
  x, y = (z.reshape(-1, z.shape[-1]) for z in (x, y))
  return _contractions.einsum("nt,tm->nm", x.T, y, dtype)


def _time_major(x, start, length):
  """[B, T, ...] -> [length, B, ...]: one step is contiguous in memory."""
  return lax.dynamic_slice_in_dim(x, start, length, axis=1).swapaxes(0, 1)


def _write(out, x, start):
  """Puts a time-major chunk back into [B, T, ...]."""
  x = x.swapaxes(0, 1).astype(out.dtype)
  return lax.dynamic_update_slice_in_dim(out, x, start, axis=1)
