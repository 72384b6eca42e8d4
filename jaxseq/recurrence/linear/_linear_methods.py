"""Methods of `linear_scan` without kernels: steps, a tree, or blocks."""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _resets


def previous(h: jax.Array, init: jax.Array, reverse: bool) -> jax.Array:
  """The state before each element: `h` shifted by one, `init` at the start."""
  if reverse:
    return jnp.concatenate([h[:, 1:], init[:, None]], axis=1)
  return jnp.concatenate([init[:, None], h[:, :-1]], axis=1)


def _sequential(a, b, init, reset, reverse):
  """One step at a time; only the states are stored."""
  time = b.shape[1]

  def body(i, carry):
    h, states = carry
    t = time - 1 - i if reverse else i
    h = _kept(reset, t, _at(a, t) * h) + _at(b, t)
    return h, lax.dynamic_update_slice_in_dim(states, h[:, None], t, axis=1)

  # Every element is written; the loop fills the array in place.
  final, states = lax.fori_loop(0, time, body, (init, jnp.zeros_like(b)))
  return states, final


def _at(x, t):
  """Element t along axis 1, which may be of size 1."""
  if x.shape[1] == 1:
    return x[:, 0]
  return lax.dynamic_slice_in_dim(x, t, 1, axis=1)[:, 0]


def _kept(reset, t, x):
  """Replaces `x` by zeros if element t is reset, even if its decay is NaN."""
  return x if reset is None else _resets.forget(_at(reset, t), x)


def _combine(left, right):
  """Composes two affine maps; `left` is applied first."""
  a_left, b_left = left
  a_right, b_right = right
  # A decay of 0 forgets the state, which may be undefined.
  none = a_right == 0
  carried = jnp.where(none, 0, a_right * b_left)
  return jnp.where(none, 0, a_right * a_left), carried + b_right


def _associative(a, b, init, reset, reverse):
  """A tree over time (`jax.lax.associative_scan`)."""
  first, last = (-1, 0) if reverse else (0, -1)
  if reset is not None:
    a = jnp.where(reset[..., None], 0, a)
  a = jnp.broadcast_to(a, b.shape)
  carried = jnp.where(a[:, first] == 0, 0, a[:, first] * init)
  b = b.at[:, first].add(carried)
  _, h = lax.associative_scan(_combine, (a, b), reverse=reverse, axis=1)
  return h, h[:, last]


def _chunked(a, b, init, reset, reverse):
  """Adjacent blocks in parallel, the carries between them, the blocks again."""
  rows, time, n = b.shape
  size = max(1, math.isqrt(time))
  blocks = -(-time // size)
  if blocks == 1 or size == 1:
    return _sequential(a, b, init, reset, reverse)
  pad = blocks * size - time
  # Padding comes after the last element consumed, and its states are dropped.
  widths = ((0, 0), (pad, 0) if reverse else (0, pad))

  def split(x, fill):
    if x.shape[:2] == (1, 1):
      return x
    if x.shape[1] == 1:
      return x.repeat(blocks, axis=0)
    x = jnp.broadcast_to(x, (rows,) + x.shape[1:])
    x = jnp.pad(x, widths + ((0, 0),) * (x.ndim - 2), constant_values=fill)
    return x.reshape((rows * blocks, size) + x.shape[2:])

  a_blocks, b_blocks = split(a, 1), split(b, 0)
  reset_blocks = None if reset is None else split(reset, False)

  # The affine map of each block on its entering state: decay and addend.
  def summarize(i, carry):
    decay, h = carry
    t = size - 1 - i if reverse else i
    a_t = _at(a_blocks, t)
    decay, h = (_kept(reset_blocks, t, a_t * x) for x in (decay, h))
    return decay, h + _at(b_blocks, t)

  ones = jnp.ones_like(b, shape=(rows * blocks, n))
  decay, addend = lax.fori_loop(
    0, size, summarize, (ones, jnp.zeros_like(ones))
  )
  decay, addend = (x.reshape(rows, blocks, n) for x in (decay, addend))
  after, _ = _associative(decay, addend, init, None, reverse)
  entering = previous(after, init, reverse)
  entering = entering.reshape(rows * blocks, n)
  h, _ = _sequential(a_blocks, b_blocks, entering, reset_blocks, reverse)
  h = h.reshape(rows, blocks * size, n)
  h = h[:, pad:] if reverse else h[:, :time]
  return h, h[:, 0 if reverse else -1]


# Functions of a [1|B, 1|T, n], b [B, T, n], init [B, n], reset [B, T] or None,
# and `reverse`, that return h [B, T, n] and the last state [B, n].
METHODS = {
  "sequential": _sequential,
  "associative": _associative,
  "chunked": _chunked,
}


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def scan(a, b, init, reset, reverse, method):
  """States [B, T, n] and last state [B, n]."""
  # For a [1|B, 1|T, n], b [B, T, n], init [B, n] and reset [B, T].
  return METHODS[method](a, b, init, reset, reverse)


def _scan_forward(a, b, init, reset, reverse, method):
  h, final = scan(a, b, init, reset, reverse, method)
  return (h, final), (a, h, init, reset)


def _scan_backward(reverse, method, residuals, cotangents):
  return *adjoint(reverse, method, residuals, cotangents), None


def adjoint(
  reverse: bool,
  method: str,
  residuals: tuple[jax.Array | None, ...],
  cotangents: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Cotangents of a, of b (which is lam), and of init."""
  # lam_t = g_t + a_{t+1} lam_{t+1}; da_t = lam_t h_{t-1}. `residuals` are a
  # [1|B, 1|T, n], h [B, T, n], init [B, n], reset [B, T] or None.
  a, h, init, reset = residuals
  g, g_final = cotangents
  first, last = (-1, 0) if reverse else (0, -1)
  g = jnp.asarray(g).at[:, last].add(g_final)
  # Element t receives the cotangent of its successor times that one's decay;
  # the last one has no successor: it starts from a zero state and a reset.
  shift = 1 if reverse else -1
  a_next = a if a.shape[1] == 1 else jnp.roll(a, shift, axis=1)
  reset_next = None
  if reset is not None:
    reset_next = jnp.roll(reset, shift, axis=1).at[:, last].set(True)
  lam, _ = scan(
    a_next, g, jnp.zeros_like(init), reset_next, not reverse, method
  )
  before = previous(h, init, reverse)
  if reset is not None:
    before = _resets.forget(reset, before)
  da = lam * before
  axes = tuple(i for i in range(3) if a.shape[i] != da.shape[i])
  da = jnp.sum(da, axis=axes, keepdims=True)
  d_init = (a[:, 0] if a.shape[1] == 1 else a[:, first]) * lam[:, first]
  if reset is not None:
    d_init = _resets.forget(reset[:, first], d_init)
  return da, lam, d_init


scan.defvjp(_scan_forward, _scan_backward)


def entering(
  factor: jax.Array, addend: jax.Array, init: jax.Array, *, reverse: bool
) -> jax.Array:
  """The states [B, S, n] that enter S segments of time, side by side."""
  # From the affine maps of all segments: their factors and addends.
  after, _ = scan(factor, addend, init, None, reverse, "associative")
  return previous(after, init, reverse)
