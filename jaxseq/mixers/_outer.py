"""Parts of the mixers that are one `outer_scan`: linear attention, GLA, HGRN2.

Each has queries and keys (..., heads, d_key), values (..., heads, d_value) and
log-decays, and a norm between the scan and the output projection.
"""

import functools

import jax

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import positions

Params = contract.Params


def split_heads(x: jax.Array, heads: int) -> jax.Array:
  """Returns (..., heads * width) as (..., heads, width)."""
  return x.reshape(*x.shape[:-1], heads, -1)


def log_decay(logits: jax.Array, temperature: float) -> jax.Array:
  """Returns log sigmoid(logits)^(1 / temperature)."""
  return jax.nn.log_sigmoid(logits) / temperature


def low_rank_logits(params: Params, x: jax.Array) -> jax.Array:
  """Returns W_a2 (W_a x) + b_a, at least float32."""
  low = recurrence.dense(x, params["W_a"])
  return recurrence.dense(low, params["W_a2"], params["b_a"], wide=True)


def scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None,
  state: jax.Array,
  reset: jax.Array | None,
  axis: str | None,
) -> tuple[jax.Array, jax.Array]:
  """Returns d_key^-0.5 q_t S_t, and the last S; arrays as in the head.

  Args:
    q: queries with time before heads.
    k: keys.
    v: values.
    decay: (..., heads, d_key | 1) or None.
    state: (*batch, heads, d_key, d_value).
    reset: (*batch, time) bool or None.
    axis: name of the mesh axis over which time is split, or None.
  """
  q = q * q.shape[-1] ** -0.5
  return recurrence.outer_scan_heads(
    q, k, v, decay, state, reset=reset, axis=axis
  )


def normed(o: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
  """Divides o (..., n) by the root of its mean square; scale is (n,)."""
  norm = functools.partial(positions.rms_norm, eps=eps)
  return contract.pointwise(norm, o, scale)


def gated(o: jax.Array, gate: jax.Array) -> jax.Array:
  """Returns o silu(gate)."""
  return contract.pointwise(lambda o, gate: o * jax.nn.silu(gate), o, gate)
