"""One chunk of `outer_scan`: matrix products in place of a loop.

Arrays have their heads before time and time before features:

  q, k   [B, 1, C, K]   one for all R heads of a group
  v      [B, R, C, V]
  a      [B, R, C, A]   log-decays, A = 1 or K; or None
  S      [B, R, K, V]   state before the chunk
  reset  [B, C]         or None

With s_t the sum of the log-decays up to element t,

  o_t = sum_{j <= t} (q_t exp(s_t - s_j) k_j) v_j + q_t exp(s_t) S
  S'  = exp(s_C) S + sum_j exp(s_C - s_j) k_j v_j^T

where resets take pairs out of the sums; `outer_forms` computes this. a and S
are in the dtype in which all is summed up, q, k and v in that of operands.
"""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence import _contractions
from jaxseq.recurrence import _outer_forms
from jaxseq.recurrence import _resets
from jaxseq.recurrence import linear


def run(
  method: str, x: _outer_forms.Inputs, state: jax.Array, reset: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """Runs one chunk: "sequential", "associative" or "chunked".

  The first two take all in one dtype. Returns outputs [B, R, C, V] and the
  state after the chunk.
  """
  if method == "sequential":
    return _sequential(x, state, reset)
  if method == "associative":
    return _associative(x, state, reset)
  masks = _masks(reset, x.v.shape[-2])
  if reset is not None:
    x, state, bad_rows, bad_state = _set_aside(x, state, masks)
  if x.a is None or x.a.shape[-1] == 1:
    o, state = _outer_forms.scalar(x, state, masks)
  else:
    o, state = _outer_forms.vector(x, state, masks)
  if reset is not None:
    o = jnp.where(bad_rows, jnp.nan, o)
    state = jnp.where(bad_state, jnp.nan, state)
  return o, state


def step(q, k, v, a, state, reset):
  """One element: as `run` without the time axis; reset is [B]."""
  if reset is not None:
    state = _resets.select(reset, jnp.zeros_like(state), state)
  if a is not None:
    state = jnp.exp(a)[..., None] * state
  state = state + k[..., :, None] * v[..., None, :]
  q = jnp.broadcast_to(q, state.shape[:-1])
  return _contractions.dot(q[..., None, :], state, -1, -2)[..., 0, :], state


def _sequential(x, state, reset):
  """One element at a time."""

  def body(state, element):
    x_t, reset_t = element
    o, state = step(*x_t, state, reset_t)
    return state, o

  xs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -2, 0), x)
  reset = None if reset is None else reset.T
  state, o = lax.scan(body, state, (xs, reset))
  return jnp.moveaxis(o, 0, -2), state


def _associative(x, state, reset):
  """A tree over the chunk; all its states are stored for a while."""
  *lead, C, V = x.v.shape
  K = x.q.shape[-1]
  kv = x.k[..., :, None] * x.v[..., None, :]
  if x.a is None:
    decay = jnp.ones((1,), kv.dtype)
  else:
    decay = jnp.exp(x.a)
    if decay.shape[-1] > 1:
      decay = jnp.repeat(decay, V, axis=-1)
  if reset is not None:
    reset = jnp.broadcast_to(reset[:, None], (*lead, C))
  flat = kv.reshape(*lead, C, K * V), state.reshape(*lead, K * V)
  states, final = linear.linear_scan(
    decay, *flat, reset=reset, method="associative"
  )
  states = states.reshape(*lead, C, K, V)
  q = jnp.broadcast_to(x.q, (*lead, C, K))
  o = _contractions.dot(q[..., None, :], states, -1, -2)[..., 0, :]
  return o, final.reshape(state.shape)


def _masks(reset, C):
  """Pairs within one episode, the earlier element first."""
  pairs = jnp.tril(jnp.ones((C, C), bool))[None, None]
  if reset is None:
    return _outer_forms.Masks(pairs, None, None, None)
  episode = jnp.cumsum(reset, axis=-1, dtype=jnp.int32)[:, None, :, None]
  last = episode[..., -1:, :]
  pairs = pairs & (episode == episode.swapaxes(-1, -2))
  return _outer_forms.Masks(pairs, episode == 0, episode == last, last == 0)


def _set_aside(x, state, masks):
  """Takes what is not finite out of the products.

  In a matrix product 0 * nan is nan: what one episode holds would reach all.
  So elements with infinite or undefined entries are replaced by zeros, and the
  outputs and the state that depend on them become nan afterwards.

  Also returned: bad_rows [B, R, C, 1] and bad_state [B, R, 1, 1].
  """

  def bad(leaf, test=lambda leaf: ~jnp.isfinite(leaf)):
    # Counted by a product: see `_sum`.
    return _contractions.sum_over(test(leaf).astype(leaf.dtype), -1) > 0

  bad_q, bad_element = bad(x.q), bad(x.k) | bad(x.v)
  if x.a is not None:  # A decay of exp(-inf) = 0 is a decay.
    bad_element |= bad(x.a, lambda a: jnp.isnan(a) | (a == jnp.inf))
  bad_before = bad(state).any(axis=-2, keepdims=True)
  # [B, C, C] and [B, C, R]: one product for all heads.
  pairs = masks.pairs[:, 0].astype(x.v.dtype)
  elements = bad_element[..., 0].swapaxes(1, 2).astype(x.v.dtype)
  seen = _contractions.dot(pairs, elements, -1, -2).swapaxes(1, 2)
  bad_rows = (seen[..., None] > 0) | bad_q | (bad_before & masks.enter)
  bad_state = (bad_element & masks.leave).any(axis=-2, keepdims=True)
  bad_state |= bad_before & masks.through

  def clean(leaf):
    finite = jnp.isfinite(leaf)
    return jnp.where(finite, leaf, jnp.zeros((), leaf.dtype))

  a = x.a
  if a is not None:
    a = jnp.where(jnp.isnan(a) | (a == jnp.inf), 0, a)
  x = _outer_forms.Inputs(clean(x.q), clean(x.k), clean(x.v), a)
  return x, clean(state), bad_rows, bad_state
