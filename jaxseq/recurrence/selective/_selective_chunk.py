"""Chunks of the selective scan, forward and backward.

Axes: T time, R rows of the batch, D channels, N states; states are [R, N, D].
With a_t = exp(delta_t A), u_t = delta_t x_t, g_t the cotangent of y_t and lam_t
that of h_t, for complex numbers too (JAX's cotangents are not conjugated):

    h_t = a_t h_{t-1} + B_t u_t            y_t = sum_n C_t h_t
    lam_t = C_t g_t + a_{t+1} lam_{t+1}    w_t = lam_t a_t h_{t-1}
    dA = sum_t delta_t w_t                 ddelta_t = sum_n A w_t
    dB_t = sum_d lam_t u_t                 dC_t = sum_d g_t h_t
    du_t = sum_n B_t lam_t
"""

import functools
import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.shared import _resets

# Sums over more states than this are left to the compiler.
_UNROLLED = 32


class Weights(NamedTuple):
  """Weights without a time axis; B and C are None if they depend on time."""

  A: jax.Array  # [N, D]
  B: jax.Array | None  # [N, D]
  C: jax.Array | None  # [N, D]
  D: jax.Array | None  # [D]


class Inputs(NamedTuple):
  """Inputs of each element; B and C are None if `Weights` has them."""

  x: jax.Array  # [R, T, D]
  delta: jax.Array  # [R, T, D]
  B: jax.Array | None  # [R, T, N]
  C: jax.Array | None  # [R, T, N]


class _Elements(NamedTuple):
  """Arrays of the recurrence, [T, R, ...], or of one element [R, ...]."""

  delta: jax.Array
  u: jax.Array
  B: jax.Array | None
  C: jax.Array | None
  reset: jax.Array | None


def run(
  method: str,
  carry: tuple[Weights, jax.Array],
  inputs: Inputs,
  reset: jax.Array | None,
) -> tuple[tuple[Weights, jax.Array], jax.Array]:
  """Weights and state [R, N, D] after a chunk, and y [R, T, D] like x."""
  # A function for `_chunks.over_chunks`. The carry has the dtype of the
  # computation; `method` is that of `linear_scan`, but not "auto".
  weights, h = carry
  x, elements = _elements(weights, inputs, reset)
  # Time first: one step is contiguous in memory.
  elements = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), elements)
  y, h = _chunk(method, weights._replace(D=None), elements, h)
  y = y.swapaxes(0, 1)
  if weights.D is not None:
    y = y + weights.D * x
  return (weights, h), y.astype(inputs.x.dtype)


def step(
  weights: Weights, inputs: Inputs, h: jax.Array, reset: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """Runs one element of `run`, without the time axis: state and y."""
  x, element = _elements(weights, inputs, reset)
  h = _advance(weights, element, h)
  y = _read(weights, element, h)
  if weights.D is not None:
    y = y + weights.D * x
  return h, y.astype(inputs.x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunk(method, weights, elements, h):
  """Returns outputs y [T, R, D] and the state after the chunk."""
  if method == "sequential":

    def body(h, element):
      h = _advance(weights, element, h)
      return h, _read(weights, element, h)

    h, y = lax.scan(body, h, elements)
    return y, h
  _, states = _decays_and_states(method, weights, elements, h)
  y = jnp.sum(states * _spread(elements.C, weights.C), axis=-2)
  return jnp.real(y), states[-1]


def _chunk_forward(method, weights, elements, h):
  return _chunk(method, weights, elements, h), (weights, elements, h)


def _chunk_backward(method, residuals, cotangents):
  weights, elements, h = residuals
  g, mu = cotangents
  a, states = _decays_and_states(method, weights, elements, h)
  d_C, sum_C = _outer(elements.C, states, g)
  back = _back_in_steps if method == "sequential" else _back_at_once
  sum_A, sum_B, d_delta, d_u, d_B, mu = back(
    method, weights, elements, a, h, states, g, mu
  )
  sums = Weights(sum_A, sum_B, sum_C, None)
  return sums, _Elements(d_delta, d_u, d_B, d_C, None), mu


_chunk.defvjp(_chunk_forward, _chunk_backward)


def _back_in_steps(method, weights, elements, a, h, states, g, mu):
  """Returns all cotangents except that of C, one element at a time."""
  del method

  def body(carry, x):
    mu, sum_A, sum_B = carry
    t, element, a_t, g_t = x
    before = jnp.where(t == 0, h, states[jnp.maximum(t - 1, 0)])
    lam = mu + _spread(element.C, weights.C) * _over_n(g_t)
    w = lam * (a_t * _forget(element.reset, before))
    sum_A = sum_A + w * _over_n(element.delta)
    if sum_B is not None:
      sum_B = sum_B + lam * _over_n(element.u)
    out = (
      jnp.real(_sum_n(w, weights.A)),
      jnp.real(_sum_n(lam, _spread(element.B, weights.B))),
      None if element.B is None else _sum_d(lam, element.u),
    )
    return (_forget(element.reset, a_t * lam), sum_A, sum_B), out

  # Summed over rows after the loop, which is cheaper than inside.
  zeros = jnp.zeros_like(h)
  carry = mu, zeros, None if weights.B is None else zeros
  xs = jnp.arange(len(g)), elements, a, g
  carry, (d_delta, d_u, d_B) = lax.scan(body, carry, xs, reverse=True)
  mu, sum_A, sum_B = carry
  sum_A = jnp.sum(sum_A, axis=0)
  sum_B = None if sum_B is None else jnp.sum(sum_B, axis=0)
  return sum_A, sum_B, d_delta, d_u, d_B, mu


def _back_at_once(method, weights, elements, a, h, states, g, mu):
  """Result of `_back_in_steps`, with few and large operations."""
  reset = elements.reset
  # Element t receives the cotangent of its successor times that one's decay;
  # the last one has no successor: it starts from a zero state and a reset.
  d_states = (_spread(elements.C, weights.C) * _over_n(g)).at[-1].add(mu)
  a_next = jnp.roll(a, -1, axis=0)
  reset_next = None
  if reset is not None:
    reset_next = jnp.roll(reset, -1, axis=0).at[-1].set(True)
  lam = _linear_scan(method, a_next, d_states, None, reset_next, reverse=True)
  before = jnp.concatenate([h[None], states[:-1]])
  w = lam * (a * _forget(reset, before))
  sum_A = jnp.sum(w * _over_n(elements.delta), axis=(0, 1))
  d_B, sum_B = _outer(elements.B, lam, elements.u)
  d_delta = jnp.real(jnp.sum(w * weights.A, axis=-2))
  B = _spread(elements.B, weights.B)
  d_u = jnp.real(jnp.sum(lam * B, axis=-2))
  first = None if reset is None else reset[0]
  return sum_A, sum_B, d_delta, d_u, d_B, _forget(first, a[0] * lam[0])


def _elements(weights, inputs, reset):
  """Returns x, and the recurrence's inputs in the dtype to compute in."""
  dtype = weights.A.dtype
  real = jnp.real(weights.A).dtype
  x, delta = inputs.x.astype(real), inputs.delta.astype(real)
  B, C = (
    None if leaf is None else leaf.astype(dtype)
    for leaf in (inputs.B, inputs.C)
  )
  return x, _Elements(delta, delta * x, B, C, reset)


def _advance(weights, element, h):
  """Returns the state after one element."""
  a = jnp.exp(_over_n(element.delta) * weights.A)
  return _next(a, weights, element, h)


def _next(a, weights, element, h):
  """Returns the state after one element with decay a."""
  h = a * _forget(element.reset, h)
  return h + _spread(element.B, weights.B) * _over_n(element.u)


def _read(weights, element, h):
  """Returns output y for the state after the element, without D."""
  return jnp.real(_sum_n(h, _spread(element.C, weights.C)))


def _decays_and_states(method, weights, elements, h):
  """Returns the decays of a chunk and its states, [T, R, N, D] both."""
  # Outside of the loop, XLA's CPU backend splits the exponentials over cores.
  a = jnp.exp(_over_n(elements.delta) * weights.A)
  if method != "sequential":
    Bu = _spread(elements.B, weights.B) * _over_n(elements.u)
    return a, _linear_scan(method, a, Bu, h, elements.reset, reverse=False)

  def body(h, x):
    a_t, element = x
    h = _next(a_t, weights, element, h)
    return h, h

  return a, lax.scan(body, h, (a, elements))[1]


def _linear_scan(method, a, b, init, reset, *, reverse):
  """Runs `linear_scan` over the first axis."""

  def flat(x):
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:])).swapaxes(0, 1)

  a, flat_b = flat(a), flat(b)
  init = None if init is None else init.reshape(flat_b[:, 0].shape)
  reset = None if reset is None else reset.T
  states, _ = linear.linear_scan(
    a, flat_b, init, reset=reset, method=method, reverse=reverse
  )
  return states.swapaxes(0, 1).reshape(b.shape)


def _over_n(x):
  """Adds an axis for states: [..., 1, D] from [..., D]."""
  return x[..., None, :]


def _spread(element, weight):
  """B or C, broadcastable to states: [..., N, 1], or the weight [N, D]."""
  return weight if element is None else element[..., None]


def _outer(element, states, x):
  """Cotangents of B or C: of the elements [T, R, N], and of the weight."""
  if element is None:
    return None, jnp.sum(states * _over_n(x), axis=(0, 1))
  return _sum_d(states, x), None


def _sum_d(left, right):
  """Sum over d: [..., N, D], [..., D] -> [..., N]."""
  return jnp.einsum("...nd,...d->...n", left, right)


def _sum_n(left, right):
  """Sum over n of left * right: [..., N, D] twice -> [..., D]."""
  n = left.shape[-2]
  if n > _UNROLLED:
    return jnp.sum(left * right, axis=-2)
  # XLA's CPU backend compiles a reduction over this axis to scalar code, and
  # the same sum written out to vector code.
  terms = [left[..., i, :] * right[..., i, :] for i in range(n)]
  return functools.reduce(jnp.add, terms)


def _forget(reset, h):
  """Replaces states by zeros if elements [R], or [T, R], are reset."""
  return h if reset is None else _resets.select(reset, jnp.zeros_like(h), h)
