"""Chunks of `outer_scan`: matrix products instead of a loop.

With s_t the sum of the log-decays up to element t,

  o_t = sum_{j <= t} (q_t exp(s_t - s_j) k_j) v_j + q_t exp(s_t) S
  S'  = exp(s_C) S + sum_j exp(s_C - s_j) k_j v_j^T

for states S [B, R, K, V]; resets [B, C] remove pairs from the sums.
"""

import jax
import jax.numpy as jnp

from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.outer import _outer_forms
from jaxseq.recurrence.shared import _chunks
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _episodes
from jaxseq.recurrence.shared import _resets


def run(
  method: str,
  x: _outer_forms.Inputs,
  state: jax.Array,
  reset: jax.Array | None,
  guarded: bool = True,
) -> tuple[jax.Array, jax.Array]:
  """Outputs [B, R, C, V] of one chunk by `method`, and the state after it."""
  # "sequential" and "associative" compute everything in one dtype.
  if method == "sequential":
    return _chunks.over_steps(step, x, state, reset, axis=2)
  if method == "associative":
    return _associative(x, state, reset)
  masks, a = _episodes.masks(reset, x.v.shape[-2]), x.decay
  if a is not None and reset is not None:
    # The decay of an episode's first element is not used.
    a = jnp.where(masks.begins, 0, a)

  def products(queries, elements, a, state):
    x = _outer_forms.Inputs(*queries, *elements, a)
    per_head = a is None or a.shape[-1] == 1
    form = _outer_forms.scalar if per_head else _outer_forms.vector
    return form(x, state, masks)

  arguments = (x.q,), (x.k, x.v), a, state
  if guarded and reset is not None:
    return _episodes.guarded(products, *arguments, masks)
  return products(*arguments)


def step(x, state, reset, *, inclusive=True):
  """Runs one element: `run` without the time axis; reset is [B]."""
  q, k, v, a = x
  if reset is not None:
    # The decay too: zero times an undefined one is not zero.
    fresh = jax.tree.map(jnp.zeros_like, (state, a))
    state, a = _resets.select(reset, fresh, (state, a))
  before = state
  if a is not None:
    state = jnp.exp(a)[..., None] * state
  state = state + k[..., :, None] * v[..., None, :]
  seen = state if inclusive else before
  q = jnp.broadcast_to(q, state.shape[:-1])
  return _contractions.dot(q[..., None, :], seen, -1, -2)[..., 0, :], state


def _associative(x, state, reset):
  """A tree over the chunk; stores all states of the chunk."""
  *lead, C, V = x.v.shape
  K = x.q.shape[-1]
  kv = x.k[..., :, None] * x.v[..., None, :]
  if x.decay is None:
    decay = jnp.ones((1,), kv.dtype)
  else:
    decay = jnp.exp(x.decay)
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
