"""Levels of log-linear attention: a matrix state for each range of the past.

Guo et al., "Log-linear attention", arXiv:2506.04761. The recurrence is
`recurrence.log_linear_scan`; here heads are an axis after time, and the weights
of a head's levels are softplus(L_scale * W_l x).
"""

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.recurrence.outer import log_linear_attention


def check(levels: int) -> None:
  """Raises a ValueError unless the recurrence has so many levels."""
  if not 2 <= levels <= log_linear_attention.LARGEST:
    expected = f"2 to {log_linear_attention.LARGEST}"
    raise contract.error("levels", levels, expected)


def init(
  key: jax.Array, d_model: int, heads: int, levels: int
) -> contract.Params:
  """Draws level_proj (d_model, heads levels), and L_scale (heads, levels)."""
  shape = d_model, heads * levels
  return {
    "level_proj": contract.uniform(key, shape, d_model),
    "L_scale": contract.ones(heads, levels),
  }


def scales(params: contract.Params, x: jax.Array) -> jax.Array:
  """Returns the weights (..., heads, levels) by which elements read levels."""
  logits = recurrence.dense(x, params["level_proj"], wide=True)
  logits = head_parts.split(logits, len(params["L_scale"]))
  return jax.nn.softplus(params["L_scale"] * logits)


def scan(q, k, v, decay, scales, state, *, reset, axis=None):
  """Scans arrays (*batch, time, heads, n), q and k of groups.

  The state is (*batch, heads, levels, dk, dv) and the count (*batch,).
  """
  heads = v.shape[-2]
  q, k = (jnp.repeat(x, heads // x.shape[-2], axis=-2) for x in (q, k))
  arrays = (jnp.moveaxis(x, -2, -3) for x in (q, k, v, decay, scales))
  reset = head_parts.resets(reset, (*v.shape[:-3], heads, v.shape[-3]))
  o, last = recurrence.log_linear_scan(
    *arrays, _of_heads(state, heads), reset=reset, axis=axis
  )
  return jnp.moveaxis(o, -3, -2), (last.S, last.count[..., 0])


def step(q, k, v, decay, scales, state, *, reset=None):
  """Runs over one element; arrays (*batch, heads, n)."""
  heads = v.shape[-2]
  q, k = (jnp.repeat(x, heads // x.shape[-2], axis=-2) for x in (q, k))
  reset = head_parts.resets(reset, v.shape[:-1], time=False)
  o, last = recurrence.log_linear_step(
    q, k, v, decay, scales, _of_heads(state, heads), reset=reset
  )
  return o, (last.S, last.count[..., 0])


def _of_heads(state, heads):
  """Returns the state with a count for each head."""
  S, count = state
  count = jnp.broadcast_to(count[..., None], (*count.shape, heads))
  return recurrence.LogLinearState(S, count)
