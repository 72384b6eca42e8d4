"""The gradient of the selective scan on a GPU (Hopper), backward in time.

A block recomputes the decayed states of a tile, stores them in shared memory,
and runs backward through it; XLA adds the sums of different blocks.
"""

import functools
import math

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels.selective import _gpu_tiles as shared
from jaxseq.kernels.selective import _inputs
from jaxseq.recurrence.platform import support

# Tiles in flight.
_STAGES = 2
_STAGES_SUMMARY = 4
# Products that are summed together: rows of the matrix layout, and a stride
# between them that avoids bank conflicts of threads that read different rows.
_ROWS, _STRIDE = 64, 136


def backward(
  form: support.Form,
  inputs: _inputs.Inputs,
  states: jax.Array,
  g: jax.Array,
  g_final: jax.Array,
) -> _inputs.Inputs:
  """Returns the cotangents of the inputs."""
  rows, time, d = inputs.x.shape
  n = inputs.A.shape[0]
  tiles, width = time // shared.TILE, 2 * n
  alive_at = shared.alive_at_of(inputs)
  outs = {
    "d_x": shared.out(inputs.x, rows, time, d),
    "d_delta": shared.out(inputs.delta, rows, time, d),
    "d_columns": shared.wide(rows, d // shared.CHANNELS, time * width),
    "d_A": shared.wide(rows, n, d),
    "d_D": shared.wide(rows, d),
    "d_h": shared.wide(rows, n, d),
  }
  arrays = (
    shared.tiles_of(inputs)
    | {"g": g, "states": states}
    | shared.constants_of(inputs)
  )
  arrays["g_final"] = g_final
  streamed = ("x", "delta", "columns", "g")
  if inputs.x.dtype.itemsize == 2:
    # Wider inputs leave no room for them in shared memory.
    streamed += ("states",)
  scratch = {
    "kept": plgpu.SMEM((shared.TILE, n, shared.CHANNELS), jnp.float32),
    "products": plgpu.SMEM((_ROWS, _STRIDE), jnp.float32),
    "sums": plgpu.SMEM((shared.TILE * width,), jnp.float32),
  }
  together = _ROWS // width

  def body(refs, channels, row, wait, release):
    A = [shared.vector(refs["A"].at[j, channels]) for j in range(n)]
    D = shared.vector(refs["D"].at[channels])
    remainders, products = refs["kept"], refs["products"]
    block = lax.axis_index("block")

    def again(current, k):
      def steps(i, h):
        for step in range(shared.STEPS):
          t = i * shared.STEPS + step
          _, delta, u = shared.load(current, t)
          alive, after = alive_at(current["columns"], t), []
          for j in range(n):
            p = shared.remains(alive, jnp.exp2(delta * A[j]) * h[j])
            remainders[t, j, :] = p
            after.append(p + current["columns"][t, j] * u)
          h = tuple(after)
        return h

      beside = refs["states"].at[row, k, :, channels]
      entering = current.get("states", beside)
      h = shared.begin(entering, n)
      lax.fori_loop(0, shared.TILE // shared.STEPS, steps, h)

    def back(current, k, t, line, carry):
      """Runs back one element; writes products to rows from `line` on."""
      mu, sum_A, sum_D = carry
      x, delta, u = shared.load(current, t)
      g = shared.vector(current["g"].at[t]).astype(jnp.float32)
      alive = alive_at(current["columns"], t)
      d_a = d_u = jnp.zeros_like(u)
      mu, sum_A = list(mu), list(sum_A)
      for j in range(n):
        p = shared.vector(remainders.at[t, j])
        B, C = current["columns"][t, j], current["columns"][t, n + j]
        lam = mu[j] + C * g
        w = lam * p
        products[line + j, pl.ds(0, shared.CHANNELS)] = lam * u
        products[line + n + j, pl.ds(0, shared.CHANNELS)] = g * (p + B * u)
        d_u = d_u + B * lam
        d_a = d_a + A[j] * w
        sum_A[j] = sum_A[j] + delta * w
        mu[j] = shared.remains(alive, jnp.exp2(delta * A[j]) * lam)
      # A was scaled by log2(e), which is undone.
      d_delta = math.log(2) * d_a + d_u * x
      at = row, k * shared.TILE + t, channels
      refs["d_x"][at] = (d_u * delta + D * g).astype(inputs.x.dtype)
      refs["d_delta"][at] = d_delta.astype(inputs.delta.dtype)
      return tuple(mu), tuple(sum_A), sum_D + g * x

    def tile(step, carry):
      k = tiles - 1 - step
      current = wait(step)
      again(current, k)

      def group(i, carry):
        i = shared.TILE // together - 1 - i
        for place in reversed(range(together)):
          t = i * together + place
          carry = back(current, k, t, place * width, carry)
        plgpu.commit_smem()
        # Every thread has written its channel; four threads read each row.
        parts = [
          plgpu.load(
            products.at[:, pl.ds(start, 8)],
            layout=plgpu.Layout.WGMMA,
            optimized=False,
          )
          for start in range(0, shared.CHANNELS, 8)
        ]
        total = jnp.sum(functools.reduce(jnp.add, parts), axis=1)
        refs["sums"][pl.ds(i * _ROWS, _ROWS)] = total
        plgpu.commit_smem()
        return carry

      carry = lax.fori_loop(0, shared.TILE // together, group, carry)
      where = pl.ds(k * shared.TILE * width, shared.TILE * width)
      plgpu.copy_smem_to_gmem(
        refs["sums"], refs["d_columns"].at[row, block, where]
      )
      plgpu.wait_smem_to_gmem(0, wait_read_only=True)
      release(step)
      return carry

    zero = plgpu.layout_cast(jnp.zeros_like(D), shared.VECTOR)
    mu = shared.begin(refs["g_final"].at[row, :, channels], n)
    carry = mu, (zero,) * n, zero
    mu, sum_A, sum_D = lax.fori_loop(0, tiles, tile, carry)
    plgpu.wait_smem_to_gmem(0)
    for j in range(n):
      refs["d_h"][row, j, channels] = mu[j]
      refs["d_A"][row, j, channels] = sum_A[j]
    refs["d_D"][row, channels] = sum_D

  results = shared.call(
    body,
    "selective_backward",
    form,
    arrays,
    streamed,
    outs,
    scratch,
    _STAGES,
    reverse=True,
  )
  columns = results["d_columns"].reshape(rows, -1, time, width)
  d_B, d_C = jnp.split(jnp.sum(columns, axis=1), 2, axis=-1)
  d_A, d_D = (jnp.sum(results[name], axis=0) for name in ("d_A", "d_D"))
  return _inputs.Inputs(
    results["d_x"], results["d_delta"], d_A, d_B, d_C, d_D, results["d_h"], None
  )


def summary(
  form: support.Form, inputs: _inputs.Inputs, g: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns a row's sum of delta and its addend to a state's cotangent."""
  rows, time, d = inputs.x.shape
  n = inputs.A.shape[0]
  alive_at = shared.alive_at_of(inputs)
  outs = {"total": shared.wide(rows, d), "addend": shared.wide(rows, n, d)}
  arrays = shared.tiles_of(inputs) | {"g": g} | shared.constants_of(inputs)

  def body(refs, channels, row, wait, release):
    A = [shared.vector(refs["A"].at[j, channels]) for j in range(n)]
    mu = shared.begin(refs["init"].at[row, :, channels], n)

    def tile(k, carry):
      current = wait(k)

      def steps(i, carry):
        total, mu = carry
        for step in range(shared.STEPS):
          t = shared.TILE - 1 - (i * shared.STEPS + step)
          delta = shared.vector(current["delta"].at[t]).astype(jnp.float32)
          g = shared.vector(current["g"].at[t]).astype(jnp.float32)
          alive, after = alive_at(current["columns"], t), []
          for j in range(n):
            lam = mu[j] + current["columns"][t, n + j] * g
            after.append(shared.remains(alive, jnp.exp2(delta * A[j]) * lam))
          total, mu = total + delta, tuple(after)
        return total, mu

      carry = lax.fori_loop(0, shared.TILE // shared.STEPS, steps, carry)
      release(k)
      return carry

    # The sum starts from zeros, like the cotangents.
    total, mu = lax.fori_loop(0, time // shared.TILE, tile, (mu[0], mu))
    refs["total"][row, channels] = total
    for j in range(n):
      refs["addend"][row, j, channels] = mu[j]

  results = shared.call(
    body,
    "selective_adjoint_summary",
    form,
    arrays,
    ("delta", "columns", "g"),
    outs,
    {},
    _STAGES_SUMMARY,
    reverse=True,
  )
  return results["total"], results["addend"]
