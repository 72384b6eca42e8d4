"""The selective scan on a TPU: states of one block of channels stay in VMEM.

come with time in the lanes, so that a column is aligned with the states, and
the flags are N more such rows. See `_selective_chunk`; p_t = a_t h_{t-1}, or 0
at a reset.
"""

import functools
import math

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp

from jaxseq.kernels import _tpu
from jaxseq.kernels.selective import _inputs
from jaxseq.recurrence.platform import support

# Elements of a tile: the lanes of B and C.
TILE = 128
# Elements of a loop's body: two-byte numbers are in tiles of 16 rows.
_STEPS = 16
# Numbers of a state that fit in registers beside the computation.
_STATE = 8192


def forward(
  form: support.Form, inputs: _inputs.Inputs, *, save: bool
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Runs the scan."""
  rows, time, d, n, width = _sizes(inputs)
  spec, tile, wide = _specs(n, width, inputs.keep is not None, lambda k: k)
  outs = [(inputs.x.dtype, (rows, time, d), tile), (None, (rows, n, d), wide)]
  if save:
    outs.append((None, (rows, time // TILE, n, d), _states(n, width)))
  results = _call(
    functools.partial(_forward, inputs.keep is not None, save),
    "selective_forward",
    form,
    (rows, d // width, time // TILE),
    spec,
    _arrays(inputs),
    outs,
    [pltpu.VMEM((n, width), jnp.float32)],
  )
  return (*results, None) if not save else tuple(results)


def backward(
  form: support.Form,
  inputs: _inputs.Inputs,
  states: jax.Array,
  g: jax.Array,
  g_final: jax.Array,
) -> _inputs.Inputs:
  """Returns the cotangents of the inputs."""
  rows, time, d, n, width = _sizes(inputs)
  tiles = time // TILE

  def turn(k):
    return tiles - 1 - k

  spec, tile, wide = _specs(n, width, inputs.keep is not None, turn)
  columns = pl.BlockSpec(
    (None, None, 2 * n, TILE), lambda r, c, k: (r, c, 0, turn(k))
  )
  row = pl.BlockSpec((None, 1, width), lambda r, c, k: (r, 0, c))
  outs = [
    (inputs.x.dtype, (rows, time, d), tile),
    (inputs.delta.dtype, (rows, time, d), tile),
    (None, (rows, d // width, 2 * n, time), columns),
    (None, (rows, n, d), wide),
    (None, (rows, 1, d), row),
    (None, (rows, n, d), wide),
  ]
  d_x, d_delta, d_columns, d_A, d_D, d_h = _call(
    functools.partial(_backward, inputs.keep is not None),
    "selective_backward",
    form,
    (rows, d // width, tiles),
    [*spec, _states(n, width, turn), tile, wide],
    [*_arrays(inputs), states, g, g_final],
    outs,
    [
      pltpu.VMEM((TILE, n, width), jnp.float32),
      pltpu.VMEM((n, width), jnp.float32),
    ],
  )
  d_columns = jnp.sum(d_columns, axis=1).swapaxes(1, 2)
  d_A, d_D = jnp.sum(d_A, axis=0), jnp.sum(d_D, axis=(0, 1))
  d_B, d_C = jnp.split(d_columns, 2, axis=-1)
  return _inputs.Inputs(d_x, d_delta, d_A, d_B, d_C, d_D, d_h, None)


def _sizes(inputs):
  """Returns rows, time, channels, states, and the channels of a block."""
  rows, time, d = inputs.x.shape
  n = inputs.A.shape[0]
  fits = (
    width for width in (512, 256) if d % width == 0 and n * width <= _STATE
  )
  return rows, time, d, n, next(fits, 128)


def _arrays(inputs):
  """Returns the arrays that both kernels read."""
  # exp(delta A) is a power of two on the chip: A includes the factor.
  A = inputs.A * math.log2(math.e)
  columns = [inputs.B, inputs.C]
  if inputs.keep is not None:
    columns.append(jnp.broadcast_to(inputs.keep[..., None], columns[0].shape))
  columns = jnp.concatenate(columns, axis=-1).swapaxes(1, 2)
  return [inputs.x, inputs.delta, A, columns, inputs.D[None], inputs.h]


def _specs(n, width, has_keep, at):
  """Returns blocks of `_arrays`, a tile and a state; `at` numbers tiles."""
  tile = pl.BlockSpec((None, TILE, width), lambda r, c, k: (r, at(k), c))
  wide = pl.BlockSpec((None, n, width), lambda r, c, k: (r, 0, c))
  A = pl.BlockSpec((n, width), lambda r, c, k: (0, c))
  lines = (3 if has_keep else 2) * n
  columns = pl.BlockSpec((None, lines, TILE), lambda r, c, k: (r, 0, at(k)))
  D = pl.BlockSpec((1, width), lambda r, c, k: (0, c))
  return [tile, tile, A, columns, D, wide], tile, wide


def _states(n, width, at=lambda k: k):
  return pl.BlockSpec((None, None, n, width), lambda r, c, k: (r, at(k), 0, c))


def _call(kernel, name, form, grid, in_specs, arrays, outs, scratch):
  """Calls a kernel; `outs` has dtype (float32 if None), shape and blocks."""
  dtypes, shapes, out_specs = zip(*outs)
  shapes = [
    jax.ShapeDtypeStruct(shape, dtype or jnp.float32)
    for shape, dtype in zip(shapes, dtypes)
  ]
  how = grid, in_specs, out_specs, shapes, scratch
  return _tpu.call(name, form, kernel, *how, arrays)


def _forward(has_keep, save, x, delta, A, columns, D, init, y, final, *more):
  """Computes one tile; `more` is the entering states, and the state."""
  state = more[-1]
  n = A.shape[0]

  @pl.when(pl.program_id(2) == 0)
  def _():
    state[...] = init[...]

  if save:
    more[0][...] = state[...]

  def body(i, h):
    rows = pl.ds(i * _STEPS, _STEPS)
    x_i, delta_i, u = _load(x, delta, rows)
    current = _turn(columns[...], i)
    out = []
    for j in range(_STEPS):
      p, h = _advance(A, current, n, has_keep, j, delta_i, u, h)
      out.append(_column(current, 1, n, j) * h)
    y[rows, :] = (_sum_states(out) + D[...] * x_i).astype(y.dtype)
    return h

  state[...] = lax.fori_loop(0, TILE // _STEPS, body, state[...])

  @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
  def _():
    final[...] = state[...]


def _backward(
  has_keep, x, delta, A, columns, D, init, states, g, g_final, *outs_scratch
):
  """Recomputes one tile's states, then runs back through it."""
  del init
  d_x, d_delta, d_columns, d_A, d_D, d_h, remainders, carry = outs_scratch
  n = A.shape[0]
  lane = lax.broadcasted_iota(jnp.int32, (n, TILE), 1)
  bodies = TILE // _STEPS

  @pl.when(pl.program_id(2) == 0)
  def _():
    carry[...] = g_final[...]
    d_A[...] = jnp.zeros_like(d_A)
    d_D[...] = jnp.zeros_like(d_D)

  def again(i, h_d_C):
    h, d_C = h_d_C
    rows = pl.ds(i * _STEPS, _STEPS)
    x_i, delta_i, u = _load(x, delta, rows)
    g_i = g[rows, :].astype(jnp.float32)
    current = _turn(columns[...], i)
    d_D[...] += jnp.sum(g_i * x_i, axis=0, keepdims=True)
    for j in range(_STEPS):
      p, h = _advance(A, current, n, has_keep, j, delta_i, u, h)
      remainders[i * _STEPS + j] = p
      summed = jnp.sum(h * g_i[j : j + 1], axis=1, keepdims=True)
      d_C = jnp.where(lane == i * _STEPS + j, summed, d_C)
    return h, d_C

  zeros = jnp.zeros((n, TILE), jnp.float32)
  _, d_C = lax.fori_loop(0, bodies, again, (states[...], zeros))

  def back(i, carried):
    mu, sum_A, d_B = carried
    i = bodies - 1 - i
    rows = pl.ds(i * _STEPS, _STEPS)
    x_i, delta_i, u = _load(x, delta, rows)
    g_i = g[rows, :].astype(jnp.float32)
    current = _turn(columns[...], i)
    d_a, d_u = [], []
    for j in reversed(range(_STEPS)):
      line = slice(j, j + 1)
      lam = mu + _column(current, 1, n, j) * g_i[line]
      w = lam * remainders[i * _STEPS + j]
      sum_A = sum_A + delta_i[line] * w
      d_a.append(A[...] * w)
      d_u.append(_column(current, 0, n, j) * lam)
      summed = jnp.sum(lam * u[line], axis=1, keepdims=True)
      d_B = jnp.where(lane == i * _STEPS + j, summed, d_B)
      mu = jnp.exp2(delta_i[line] * A[...]) * lam
      if has_keep:
        mu = jnp.where(_column(current, 2, n, j) > 0, mu, 0)
    d_a, d_u = _sum_states(d_a[::-1]), _sum_states(d_u[::-1])
    d_x[rows, :] = (d_u * delta_i + D[...] * g_i).astype(d_x.dtype)
    # A was scaled by log2(e), which is undone.
    d_delta[rows, :] = (math.log(2) * d_a + d_u * x_i).astype(d_delta.dtype)
    return mu, sum_A, d_B

  mu, sum_A, d_B = lax.fori_loop(0, bodies, back, (carry[...], d_A[...], zeros))
  carry[...] = mu
  d_A[...] = sum_A
  d_columns[...] = jnp.concatenate([d_B, d_C])

  @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
  def _():
    d_h[...] = mu


def _sum_states(products):
  """Sums products [N, channels] over the states, one row for each."""
  parts = [
    functools.reduce(jnp.add, jnp.split(each, each.shape[0] // 8))
    for each in products
  ]
  row = lax.broadcasted_iota(jnp.int32, parts[0].shape, 0)
  rows = []
  for start in range(0, len(parts), 8):
    some = parts[start : start + 8]
    for shift in (1, 2, 4):
      upper = (row & shift) != 0
      some = [
        jnp.where(upper, odd, even)
        + pltpu.roll(jnp.where(upper, even, odd), shift, 0)
        for even, odd in zip(some[::2], some[1::2], strict=True)
      ]
    rows += some
  return jnp.concatenate(rows)


def _load(x, delta, rows):
  """Returns x, delta and their product for some elements, in float32."""
  x, delta = (ref[rows, :].astype(jnp.float32) for ref in (x, delta))
  return x, delta, delta * x


def _turn(columns, i):
  """Rolls the columns so that those of body `i` are first."""
  return pltpu.roll(columns, (TILE - i * _STEPS) % TILE, 1)


def _column(columns, which, n, j):
  """Returns B (0), C (1) or the flag (2) of the body's element j, [N, 1]."""
  return columns[which * n : (which + 1) * n, j : j + 1]


def _advance(A, columns, n, has_keep, j, delta, u, h):
  """Returns the decayed state before element j, and the state after it."""
  p = jnp.exp2(delta[j : j + 1] * A[...]) * h
  if has_keep:
    p = jnp.where(_column(columns, 2, n, j) > 0, p, 0)
  return p, p + _column(columns, 0, n, j) * u[j : j + 1]
