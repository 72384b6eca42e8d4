"""The state of running softmax averages, and functions that all forms share.

m is only a shift that cancels, so it is a constant in all forms;
`with_constant_shift` restores the derivative of the returned m.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _serialization

# The logit of an empty average. -inf would make exp(m - m) undefined.
NEG = -1e30


@_serialization.exported("jaxseq.recurrence._softmax_state.SoftmaxState")
class SoftmaxState(NamedTuple):
  """A running softmax average.

  If several channels of w share one logit, m and u are (..., n) beside a w of
  (..., dk, dv), and channel d has logit d modulo n.

  Attributes:
    m: (...,) largest logit; -1e30 for an empty average.
    u: (...,) sum of exp(logit - m).
    w: (..., dv) sum of exp(logit - m) times the value; the average is w / u.
  """

  m: jax.Array
  u: jax.Array
  w: jax.Array


class Inputs(NamedTuple):
  """Arrays that are averaged and read; k is None for ones."""

  q: jax.Array  # [R, T, D]
  logits: jax.Array  # [R, T, n], channel d has logit d modulo n
  k: jax.Array | None  # [R, T, D]
  v: jax.Array  # [R, T, E]


def output_dtype(inputs: Inputs) -> jnp.dtype:
  """The common dtype of q, k and v; logits are often wider."""
  return jnp.result_type(*jax.tree.leaves(inputs._replace(logits=None)))


def softmax_combine(left: SoftmaxState, right: SoftmaxState) -> SoftmaxState:
  """The average over the elements of both: the operator of a parallel scan."""
  m_left, m_right = (jnp.maximum(x.m, NEG) for x in (left, right))
  m = jnp.maximum(m_left, m_right)
  a, b = jnp.exp(m_left - m), jnp.exp(m_right - m)
  w = beside(a, left.w) * left.w + beside(b, right.w) * right.w
  return SoftmaxState(m, a * left.u + b * right.u, w)


def fresh(sink: float | None, like: SoftmaxState) -> SoftmaxState:
  """The state of a fresh sequence, in the shapes of another."""
  m, u = (NEG, 0) if sink is None else (sink, 1)
  return SoftmaxState(
    jnp.full_like(like.m, m), jnp.full_like(like.u, u), jnp.zeros_like(like.w)
  )


def spread(x: jax.Array, channels: int) -> jax.Array:
  """[..., n] -> [..., channels]: channel d has entry d modulo n."""
  repeats = channels // x.shape[-1]
  return x if repeats == 1 else jnp.tile(x, (1,) * (x.ndim - 1) + (repeats,))


def beside(x: jax.Array, w: jax.Array) -> jax.Array:
  """Factors of w, from m or u like theirs."""
  if x.shape != w.shape[:-1]:
    x = spread(x, w.shape[-2])
  return x[..., None]


def in_all_channels(
  logits: jax.Array, state: SoftmaxState
) -> tuple[jax.Array, SoftmaxState]:
  """Repeats logits and state, so that there is one per channel."""
  channels = state.w.shape[-2]
  m, u = (spread(x, channels) for x in (state.m, state.u))
  return spread(logits, channels), SoftmaxState(m, u, state.w)


def in_own_channels(state: SoftmaxState, n: int) -> SoftmaxState:
  """The inverse of `in_all_channels`, for the state."""
  return SoftmaxState(state.m[..., :n], state.u[..., :n], state.w)


def divide(x: jax.Array, u: jax.Array) -> jax.Array:
  """Quotient x / u, or 0 if u is 0: the average is empty."""
  some = u > 0
  return jnp.where(some, x / jnp.where(some, u, 1), 0)


def clamp(logits: jax.Array) -> jax.Array:
  """Replaces logits of -inf by the finite logit of an empty average."""
  return jnp.where(logits < NEG, NEG, logits)


def step(inputs: Inputs, state: SoftmaxState) -> tuple[jax.Array, SoftmaxState]:
  """Consumes one element: from [..., D] and [..., E] to [..., E]."""
  q, logits, k, v = inputs
  n = logits.shape[-1]
  logits, state = in_all_channels(clamp(logits), state)
  state = state._replace(m=clamp(state.m))
  state = next_state(logits, k, v, state, jnp.maximum(state.m, logits))
  read = divide(q, state.u)[..., None]
  return jnp.sum(read * state.w, axis=-2), in_own_channels(state, n)


def next_state(logits, k, v, state: SoftmaxState, m) -> SoftmaxState:
  """The state after one element, with its largest logit m."""
  old = jnp.exp(state.m - m)
  weight = jnp.where(logits > NEG, jnp.exp(logits - m), 0)
  u = old * state.u + weight
  key = weight if k is None else weight * k
  w = old[..., None] * state.w + key[..., None] * v[..., None, :]
  return SoftmaxState(m, u, w)


def with_constant_shift(
  fold: Callable[[SoftmaxState], tuple[SoftmaxState, jax.Array]],
  logits: jax.Array,
  init: SoftmaxState,
  reset: jax.Array | None,
  sink: float | None,
  *,
  known: bool = False,
  decay: jax.Array | None = None,
):
  """Runs a fold whose m are constants, and adds the gradient of m."""
  init = init._replace(m=clamp(init.m))
  shift = lax.stop_gradient(init.m)
  final, others = fold(_shifted(init, shift, init.m - shift))
  entering = init.m
  if decay is not None:
    logits = decayed(logits, decay)
    entering = entering + logits.shape[1] * decay
  if known:
    m = _with_slopes(sink, final.m, logits, entering, reset)
  else:
    m = _last_max(logits, entering, reset, sink)
  return _shifted(final, m, lax.stop_gradient(m) - m), others


def decayed(logits: jax.Array, decay: jax.Array) -> jax.Array:
  """Logits (*batch, T, n) as they are after the last element."""
  later = jnp.arange(logits.shape[-2] - 1, -1, -1, dtype=decay.dtype)
  return logits + later[:, None] * decay


def _shifted(state, m, difference):
  """Rescales a state to another m by a factor of value 1 with a derivative."""
  scale = jnp.exp(jnp.where(jnp.isfinite(m), difference, 0))
  w = None if state.w is None else beside(scale, state.w) * state.w
  return SoftmaxState(m, scale * state.u, w)


def _last_max(logits, m, reset, sink):
  """The largest logit since the last reset, [R, n]."""
  logits = clamp(logits.astype(m.dtype))
  if reset is None:
    return jnp.maximum(m, jnp.max(logits, axis=1))
  segment = jnp.cumsum(reset, axis=1)
  last = segment == segment[:, -1:]
  logits = jnp.where(last[..., None], logits, NEG)
  start = jnp.where(segment[:, -1:] == 0, m, NEG if sink is None else sink)
  return jnp.maximum(start, jnp.max(logits, axis=1))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_slopes(sink, known, logits, m, reset):
  """Returns a known `_last_max`, with its derivative."""
  del sink, logits, m, reset
  return known


@_with_slopes.defjvp
def _with_slopes_jvp(sink, primals, tangents):
  _, logits, m, reset = primals

  def largest(logits, m):
    return _last_max(logits, m, reset, sink)

  # Not the known value itself: second derivatives need this rule, too.
  result = _with_slopes(sink, *primals)
  return result, jax.jvp(largest, (logits, m), tangents[1:3])[1]
