"""TPE and MD-TPE: positions by decaying sums of earlier elements.

  TPE(x)_t = W_o RMSNorm(concat_h (q_h . k_h) sum_{s<=t} lambda_h^{t-s} x_s)
  MD-TPE(x) = sum_j TPE_j(x along axis j)

Section 3.3 of the paper of LightNet (arXiv:2405.21022), as in its first
author's code: each axis has its own parameters, and an element sees the
elements before it along the axis, at the same place of the other axes. An array
of elements row by row is a sequence: the previous element along an axis is
`stride` elements before, so that the last `stride` sums are the state.
"""

import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import positions


def strides(grid: tuple[int, ...]) -> tuple[int, ...]:
  """Returns the distances of neighbors along each axis; 1 without a grid."""
  return tuple(math.prod(grid[j + 1 :]) for j in range(len(grid))) or (1,)


def init(key: jax.Array, config: Any) -> contract.Params:
  """Returns the parameters, of all axes: a decay of 1/2, and q = k = 1."""
  axes, d = len(strides(config.grid)), config.d_model
  lecun = jax.nn.initializers.lecun_normal(batch_axis=0)
  return {
    "tpe_q": contract.ones(axes, d),
    "tpe_k": contract.ones(axes, d),
    "tpe_decay": contract.zeros(axes, config.num_heads),
    "tpe_norm": contract.ones(axes, d),
    "tpe_W_o": lecun(key, (axes, d, d), jnp.float32),
  }


def initial(config, batch_shape, dtype) -> tuple[jax.Array, ...]:
  """Returns the sums before a fresh sequence."""
  d = config.d_model
  return tuple(
    jnp.zeros((*batch_shape, stride, d), dtype)
    for stride in strides(config.grid)
  )


def run(
  config: Any,
  params: contract.Params,
  x: jax.Array,
  sums: tuple[jax.Array, ...],
  grid: tuple[int, ...],
  place: jax.Array | None,
  count: jax.Array | None,
  reset: jax.Array | None,
  axis: str | None = None,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  """Returns x with its positions, and the sums after the last element.

  Args:
    config: options of LightNet.
    params: its parameters.
    x: (*batch, time, d_model).
    sums: (*batch, stride, d_model) for each axis, the last sums.
    grid: sizes of the axes; () if time is the only one.
    place: numbers (*batch, time) of the elements in the array; larger ones
      start another array. None without a grid, for which `reset` counts.
    count: (*batch,) number of elements since the last reset, after the last
      one; None without a grid, or if the sums are not used.
    reset: (*batch, time) bool, or None.
    axis: as in `apply`.
  """
  wide = contract.wide_dtype(x, sums)
  inputs, y, after = x.astype(wide), jnp.zeros((), wide), []
  for j, stride in enumerate(strides(grid)):
    q, k, logits, norm, W_o = (
      params[f"tpe_{name}"][j].astype(wide)
      for name in ("q", "k", "decay", "norm", "W_o")
    )
    per_head = config.d_model // config.num_heads
    decay = jnp.repeat(jax.nn.sigmoid(logits), per_head)
    gain = jnp.sum((q * k).reshape(config.num_heads, per_head), axis=-1)
    first = reset
    if grid:
      first = jnp.floor(place / stride) % grid[j] == 0
      first = jnp.broadcast_to(first, x.shape[:-1])
    out, last = _scan(decay, inputs, sums[j], first, stride, axis)
    if grid and count is not None:
      # Sums from before a reset are dropped.
      filled = count[..., None] - stride + jnp.arange(stride) >= 0
      last = jnp.where(filled[..., None], last, 0)
    out = jnp.repeat(gain, per_head) * out
    eps, eps_on = config.norm_eps, config.norm_eps_on
    out = positions.rms_norm(out, norm, eps, eps_on=eps_on)
    y = y + recurrence.dense(out, W_o)
    after.append(last)
  return y.astype(x.dtype), tuple(after)


def _scan(decay, x, before, first, stride, axis):
  """Sums s_t = decay s_{t - stride} + x_t, and the last `stride` of them."""
  # Where `first` is set x_t begins a sum.
  if stride == 1:
    sums, last = recurrence.linear_scan(
      decay, x, before[..., 0, :], reset=first, axis=axis
    )
    return sums, last[..., None, :]
  *batch, time, d = x.shape
  # Of the number of elements before those of this device, modulo stride.
  offset, rows = 0, -(-time // stride)
  if axis is not None and time % stride:
    offset = lax.axis_index(axis) * time % stride
    rows = -(-(time + stride - 1) // stride)
  free = rows * stride - time

  def by_place(leaf):
    # (*batch, time, ...) to (*batch, stride, rows, ...).
    widths = [(0, 0)] * leaf.ndim
    widths[len(batch)] = 0, free
    leaf = jnp.roll(jnp.pad(leaf, widths), offset, len(batch))
    shape = *batch, rows, stride, *leaf.shape[len(batch) + 1 :]
    return jnp.moveaxis(leaf.reshape(shape), len(batch), len(batch) + 1)

  if axis is not None and free:
    # Behind the places without an element the sums are what they were.
    filled = by_place(jnp.ones((*batch, time, 1), bool))
    decay = jnp.where(filled, decay, 1)
  sums, last = recurrence.linear_scan(
    decay, by_place(x), before, reset=by_place(first), axis=axis
  )
  sums = jnp.moveaxis(sums, -2, -3).reshape(*batch, rows * stride, d)
  sums = jnp.roll(sums, -offset, -2)[..., :time, :]
  if axis is not None:
    # In the order of time, in which the whole array need not end with a row.
    end = lax.axis_size(axis) * time
    return sums, jnp.roll(last, -(end % stride), -2)
  extended = jnp.concatenate([before.astype(sums.dtype), sums], axis=-2)
  return sums, extended[..., -stride:, :]
