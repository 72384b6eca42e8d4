"""Memories of Mixture-of-Memories: their inputs, recurrences and outputs."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts

# Added to the sum of squares of queries and keys, and to the divisor.
_LENGTH_EPS, _SUM_EPS = 1e-6, 1e-10


class Elements(NamedTuple):
  """Inputs of the memories, (..., memories, heads, width)."""

  q: jax.Array
  k: jax.Array
  v: jax.Array
  # The vector that reads the state before the update; None to only add.
  read: jax.Array | None
  decay: jax.Array | None  # logarithms


def _routed_conv(x, weight, window, routed, reset, *, axis):
  """Convolves (..., memories, channels), each over its routed elements."""
  x, routed = jnp.moveaxis(x, -2, -3), jnp.moveaxis(routed, -1, -2)
  reset = head_parts.resets(reset, routed.shape)
  y, window = recurrence.routed_conv(
    x, weight, window, routed, reset, axis=axis
  )
  return jnp.moveaxis(y, -3, -2), window


def _routed_conv_step(x, weight, window, routed, reset):
  reset = head_parts.resets(reset, routed.shape, time=False)
  return recurrence.routed_conv_step(x, weight, window, routed, reset)


def _scan(x, state, *, reset, axis):
  """Runs the recurrences of (*batch, time, memories, heads, n)."""
  x = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -4, -2), x)
  options = {"reset": head_parts.resets(reset, x.v.shape[:-1]), "axis": axis}
  if x.read is None:
    o, state = recurrence.outer_scan(x.q, x.k, x.v, x.decay, state, **options)
  else:
    o, state = recurrence.delta_scan(*x, state, **options)
  return jnp.moveaxis(o, -2, -4), state


def _scan_step(x, state, *, reset):
  reset = head_parts.resets(reset, x.v.shape[:-1], time=False)
  if x.read is None:
    return recurrence.outer_step(x.q, x.k, x.v, x.decay, state, reset=reset)
  return recurrence.delta_step(*x, state, reset=reset)


def inputs(
  config: Any,
  params: contract.Params,
  x: jax.Array,
  window: jax.Array | None,
  routed: jax.Array,
  reset: jax.Array | None,
  over: Callable[..., Any],
) -> tuple[Elements, jax.Array | None]:
  """Inputs of the memories from x, and the convolutions' next windows."""
  # x is (..., d_model), `window` (*batch, memories, d_conv - 1, channels) or
  # None, and `routed` (..., memories) flags the memories of each element.
  qkv = jnp.concatenate(
    [_of_memories(config, params, name, x) for name in "qkv"], axis=-1
  )
  if config.d_conv > 1:

    def convolved(qkv, weight, window):
      arguments = qkv, weight, window, routed, reset
      y, window = over(_routed_conv, *arguments, step=_routed_conv_step)
      return contract.pointwise(jax.nn.silu, y.astype(x.dtype)), window

    if x.dtype != contract.wide_dtype(x):
      # The gradient recomputes the convolution: it keeps no array in float32.
      convolved = jax.checkpoint(convolved)
    qkv, window = convolved(qkv, params["conv_weight"], window)
  elif config.rule == "gated_deltanet":
    qkv = contract.pointwise(jax.nn.silu, qkv)
  queries, keys, _ = config.channels
  q, k, v = (
    part.reshape(*part.shape[:-1], config.heads, -1)
    for part in jnp.split(qkv, (queries, queries + keys), axis=-1)
  )
  q, k = (contract.pointwise(_feature(config), part) for part in (q, k))
  q, read, decay = q * config.key_width**-0.5, None, None
  mask = routed[..., None, None]

  def own(part):
    return None if part is None else jnp.where(mask, part, 0)

  if config.rule == "gated_deltanet":
    beta = jax.nn.sigmoid(_of_memories(config, params, "b", x, wide=True))
    read = own(contract.pointwise(jnp.multiply, k, beta[..., None]))
    v = contract.pointwise(jnp.multiply, v, beta[..., None])
    rate = _of_memories(config, params, "a", x, wide=True)
    rate = jax.nn.softplus(rate + params["dt_bias"])
    decay = (-jnp.exp(params["A_log"]) * rate)[..., None]
  elif config.rule == "gla":
    decay = _decays_of_channels(config, params, x)
  return Elements(q, own(k), own(v), read, own(decay)), window


def read(
  config: Any,
  x: Elements,
  S: jax.Array,
  z: jax.Array | None,
  reset: jax.Array | None,
  over: Callable[..., Any],
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Outputs (..., memories, heads, d_value), and S and z after them."""
  # Before the first element S is (*batch, memories, heads, d_key, d_value), and
  # z (*batch, memories, heads, d_key) or None.
  if not config.normalize:
    o, S = over(_scan, x, S, reset=reset, step=_scan_step)
    return o, S, None
  # The sum of keys is an additional column of S, for values of 1.
  one = jnp.ones_like(x.v[..., :1])
  x = x._replace(v=jnp.concatenate([x.v, one], axis=-1))
  S = jnp.concatenate([S, z[..., None]], axis=-1)
  o, S = over(_scan, x, S, reset=reset, step=_scan_step)

  def divided(o):
    return o[..., :-1] / (o[..., -1:] + _SUM_EPS)

  return contract.pointwise(divided, o), S[..., :-1], S[..., -1]


def _of_memories(config, params, name, x, wide=False):
  """(..., memories, n), from one matrix for each memory or one for all."""
  y = recurrence.dense(x, params[f"W_{name}"], wide=wide)
  if name == "q" or config.one_projection:
    lead = *x.shape[:-1], config.every
    return jnp.broadcast_to(y[..., None, :], (*lead, y.shape[-1]))
  return y.reshape(*x.shape[:-1], config.every, -1)


def _feature(config):
  """Feature map of queries and keys."""
  if config.rule == "gated_deltanet":
    return functools.partial(head_parts.unit, eps=_LENGTH_EPS)
  if config.feature_map == "elu":
    return lambda x: jax.nn.elu(x) + 1
  return jax.nn.relu if config.feature_map == "relu" else lambda x: x


def _decays_of_channels(config, params, x):
  """Logarithms (..., memories, heads, d_key), at least float32."""
  low = _of_memories(config, params, "a", x)
  W, b = params["W_a2"], params["b_a"]
  W, b = (jnp.broadcast_to(y, (config.every, *y.shape[1:])) for y in (W, b))
  logits = recurrence.dense_heads(low, W, b, wide=True)
  logits = logits.reshape(*logits.shape[:-1], config.heads, -1)
  return jax.nn.log_sigmoid(logits) / config.decay_temperature
