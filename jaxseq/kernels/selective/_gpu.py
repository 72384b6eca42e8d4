"""The selective scan on a GPU (Hopper): one thread per channel.

See `_selective_chunk`; p_t = a_t h_{t-1}, or 0 at a reset.
"""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.kernels.selective import _gpu_adjoint
from jaxseq.kernels.selective import _gpu_tiles as shared
from jaxseq.kernels.selective import _inputs
from jaxseq.recurrence.platform import support

TILE = shared.TILE
backward = _gpu_adjoint.backward
adjoint_summary = _gpu_adjoint.summary
# Tiles in flight.
_STAGES = 4


def forward(
  form: support.Form, inputs: _inputs.Inputs, *, save: bool
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Runs the scan."""
  rows, time, d = inputs.x.shape
  n = inputs.A.shape[0]
  alive_at = shared.alive_at_of(inputs)
  outs = {
    "y": shared.out(inputs.x, rows, time, d),
    "final": shared.wide(rows, n, d),
  }
  if save:
    outs["states"] = shared.wide(rows, time // TILE, n, d)
  arrays = shared.tiles_of(inputs) | shared.constants_of(inputs)
  streamed = ("x", "delta", "columns")

  def body(refs, channels, row, wait, release):
    A = [shared.vector(refs["A"].at[j, channels]) for j in range(n)]
    D = shared.vector(refs["D"].at[channels])
    h = shared.begin(refs["init"].at[row, :, channels], n)

    def tile(k, h):
      if save:
        for j in range(n):
          refs["states"][row, k, j, channels] = h[j]
      current = wait(k)

      def steps(i, h):
        for step in range(shared.STEPS):
          t = i * shared.STEPS + step
          x, delta, u = shared.load(current, t)
          alive = alive_at(current["columns"], t)
          y, after = D * x, []
          for j in range(n):
            p = shared.remains(alive, jnp.exp2(delta * A[j]) * h[j])
            after.append(p + current["columns"][t, j] * u)
            y = y + current["columns"][t, n + j] * after[j]
          refs["y"][row, k * TILE + t, channels] = y.astype(inputs.x.dtype)
          h = tuple(after)
        return h

      h = lax.fori_loop(0, TILE // shared.STEPS, steps, h)
      release(k)
      return h

    h = lax.fori_loop(0, time // TILE, tile, h)
    for j in range(n):
      refs["final"][row, j, channels] = h[j]

  results = shared.call(
    body, "selective_forward", form, arrays, streamed, outs, {}, _STAGES
  )
  return results["y"], results["final"], results.get("states")


def summary(
  form: support.Form, inputs: _inputs.Inputs
) -> tuple[jax.Array, jax.Array]:
  """Returns a row's sum of delta and its addend to a state."""
  rows, time, d = inputs.x.shape
  n = inputs.A.shape[0]
  alive_at = shared.alive_at_of(inputs)
  outs = {"total": shared.wide(rows, d), "addend": shared.wide(rows, n, d)}
  arrays = shared.tiles_of(inputs) | shared.constants_of(inputs)

  def body(refs, channels, row, wait, release):
    A = [shared.vector(refs["A"].at[j, channels]) for j in range(n)]
    h = shared.begin(refs["init"].at[row, :, channels], n)

    def tile(k, carry):
      current = wait(k)

      def steps(i, carry):
        total, h = carry
        for step in range(shared.STEPS):
          t = i * shared.STEPS + step
          _, delta, u = shared.load(current, t)
          alive, after = alive_at(current["columns"], t), []
          for j in range(n):
            p = shared.remains(alive, jnp.exp2(delta * A[j]) * h[j])
            after.append(p + current["columns"][t, j] * u)
          total, h = total + delta, tuple(after)
        return total, h

      carry = lax.fori_loop(0, TILE // shared.STEPS, steps, carry)
      release(k)
      return carry

    # The sum starts from zeros, like the states.
    total, h = lax.fori_loop(0, time // TILE, tile, (h[0], h))
    refs["total"][row, channels] = total
    for j in range(n):
      refs["addend"][row, j, channels] = h[j]

  streamed = ("x", "delta", "columns")
  results = shared.call(
    body, "selective_summary", form, arrays, streamed, outs, {}, _STAGES
  )
  return results["total"], results["addend"]
