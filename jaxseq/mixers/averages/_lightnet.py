"""LightNet's computation between its projections; see `lightnet`."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import positions

# Logit of a masked element. Not -inf: a softmax of only masked elements is then
# still defined.
_NOTHING = -1e30


def vector(config, params, x, state, reset, mask, place, axis):
  """Averages with logits for each key channel, and the state after them."""
  # Maps x (*batch, time, d_model), m, u and w of the state and positions
  # (*batch, time, 1), None if lrpe is "none", to o (*batch, time, H, d_model /
  # H).
  q = _queries(config, params, x)
  logits, v = _logits_v(config, params, x, mask)
  k = None
  if config.turning != "none":
    width, base = config.key_width, config.lrpe_base
    if config.turning == "rotary":
      # Channels 1 and 2 of a pair of the weighted key meet r1 cos + r2 sin and
      # r2 cos - r1 sin of the rotated query's r1, r2 at the key's own angle.
      q = positions.rotary(q, place, base)
      r1, r2 = jnp.split(q, 2, axis=-1)
      q = jnp.concatenate([r1, r2, r2, -r1], axis=-1)
      theta = positions.frequencies(width // 2, width, base)
      angle = positions.angles(place, theta, logits.dtype)
      angle = jnp.concatenate([angle, angle], axis=-1)
    else:
      turned = functools.partial(positions.lrpe_cosine, base=base)
      q = contract.pointwise(turned, q, place)
      theta = positions.frequencies(width, width, base)
      angle = positions.angles(place, theta, logits.dtype)
    k = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    k = jnp.broadcast_to(k.astype(q.dtype), q.shape)
    if x.dtype == contract.wide_dtype(x):
      logits = jnp.concatenate([logits, logits], axis=-1)
  # The heads are an additional batch axis of the average.
  q, logits, k, v = (
    None if z is None else jnp.moveaxis(z, -2, -3) for z in (q, logits, k, v)
  )
  reset = head_parts.resets(reset, v.shape[:-1])
  # Both halves of the channels have the same logits, and m and u. For narrow x
  # they are not stored twice.
  size, rows = logits.shape[-1], state.w.shape[-2]
  state = state._replace(m=state.m[..., :size], u=state.u[..., :size])
  o, state = recurrence.softmax_outer_scan(
    q, logits, k, v, state, axis=axis, reset=reset, sink=config.sink
  )
  m, u = (jnp.concatenate([z] * (rows // size), -1) for z in (state.m, state.u))
  return jnp.moveaxis(o, -3, -2), state._replace(m=m, u=u)


def scalar(config, params, x, state, reset, mask, place, axis):
  """Result of `vector` with one logit, a decay, for each head."""
  q, k = _queries(config, params, x), _heads(config, x, params["W_k"])
  k = contract.pointwise(jax.nn.silu, k)
  v = _heads(config, x, params["W_v"])
  logits = recurrence.dense(x, params["W_f"], wide=True)
  if mask is not None:
    logits = jnp.where(mask[..., None], logits, _NOTHING)
    k, v = (jnp.where(mask[..., None, None], z, 0) for z in (k, v))
  m, u = state.m[..., 0], state.u[..., 0]
  decay, share, (m, u) = recurrence.softmax_decay(
    logits, m, u, axis=axis, reset=reset, sink=config.sink
  )
  if config.input_gate:
    k = contract.pointwise(jnp.multiply, k, share[..., None])
  base = config.lrpe_base
  if config.turning == "rotary":
    q, k = (positions.rotary(z, place, base) for z in (q, k))
  elif config.turning != "none":
    q, k = (positions.lrpe_cosine(z, place, base) for z in (q, k))
  o, w = recurrence.outer_scan_heads(
    q, k, v, decay[..., None], state.w, axis=axis, reset=reset
  )
  return o, recurrence.SoftmaxState(m[..., None], u[..., None], w)


def array(
  config: Any,
  params: contract.Params,
  x: jax.Array,
  mask: jax.Array | None,
  shape: tuple[int, ...],
  num_extra: int,
) -> jax.Array:
  """Outputs of elements of an array that all see each other."""
  # Maps x (*batch, n, d_model), n = num_extra + prod(shape), to o (*batch, n,
  # H, d_model / H). The heads are an additional batch axis.
  q, logits, v = (
    jnp.moveaxis(z, -2, -3)
    for z in (_queries(config, params, x), *_logits_v(config, params, x, mask))
  )
  if config.turning == "none":
    o = single_scan(q, logits, v)
  else:
    axes, base = len(shape), config.lrpe_base
    theta = positions.md_frequencies(config.key_width, axes, base)
    o = single_scan(q, logits, v, shape, num_extra=num_extra, theta=theta)
  return jnp.moveaxis(o, -3, -2)


def single_scan(
  q: jax.Array,
  logits: jax.Array,
  v: jax.Array,
  shape: tuple[int, ...] | None = None,
  *,
  num_extra: int = 0,
  theta: jax.Array | None = None,
) -> jax.Array:
  """Products q (softmax(logits)^T v), (*batch, n, dv), in one pass."""
  # Section 3.2 of the paper. Without positions it does not depend on the order
  # of the elements. The softmax of logits (*batch, n, dk) is over the n
  # elements; `shape` has the axes of an array, whose queries and keys get
  # MD-LRPE with frequencies `theta`, after `num_extra` other elements.
  keys = jax.nn.softmax(logits, axis=-2).astype(v.dtype)
  if shape is not None:
    q, keys = (
      positions.md_lrpe(z, shape, theta, num_extra=num_extra) for z in (q, keys)
    )
  return q @ (keys.swapaxes(-1, -2) @ v)


def output(
  config: Any, params: contract.Params, o: jax.Array, x: jax.Array
) -> jax.Array:
  """Gate, norm and output projection of o (..., d_model); x gates."""
  W_u1, W_u2, W_o = (
    params[n].astype(contract.wide_dtype(x)) for n in ("W_u1", "W_u2", "W_o")
  )
  logits = recurrence.dense(recurrence.dense(x, W_u1), W_u2)

  def gated(o, logits, norm):
    gate = getattr(jax.nn, config.gate)(logits)
    if config.gate_position == "pre":
      o = o * gate
    eps, eps_on = config.norm_eps, config.norm_eps_on
    o = positions.rms_norm(o, norm, eps, eps_on=eps_on)
    return o * gate if config.gate_position == "post" else o

  o = contract.pointwise(gated, o.astype(x.dtype), logits, params["norm"])
  return recurrence.dense(o, W_o)


def _logits_v(config, params, x, mask):
  """Logits and values (..., time, H, width), without masked elements."""
  logits = _heads(config, x, params["W_k"], wide=True)
  v = _heads(config, x, params["W_v"])
  if mask is None:
    return logits, v
  mask = mask[..., None, None]
  return jnp.where(mask, logits, _NOTHING), jnp.where(mask, v, 0)


def _queries(config, params, x):
  q = contract.pointwise(jax.nn.silu, _heads(config, x, params["W_q"]))
  return q / math.sqrt(config.key_width) if config.scale_q else q


def _heads(config, x, W, wide=False):
  """(..., d_model) -> (..., H, width)."""
  return head_parts.split(recurrence.dense(x, W, wide=wide), config.num_heads)
