"""Loops of the selective scan along time on a GPU (Hopper)."""

from collections.abc import Callable
import math

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.kernels.selective import _inputs
from jaxseq.recurrence.platform import support

# Elements of a tile. The residuals of a tile fill half of the shared memory.
TILE = 16
# Elements of a loop's body: more only take longer to compile.
STEPS = 4
CHANNELS = 128
VECTOR = plgpu.Layout.WG_STRIDED((CHANNELS,), vec_size=1)


def out(like: jax.Array, *shape: int) -> jax.ShapeDtypeStruct:
  """Returns a result type with the dtype of an array."""
  return jax.ShapeDtypeStruct(shape, like.dtype)


def wide(*shape: int) -> jax.ShapeDtypeStruct:
  """Returns a float32 result type."""
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def tiles_of(inputs: _inputs.Inputs) -> dict[str, jax.Array]:
  """Returns the elements' arrays: x, delta, and joined B, C and flag."""
  columns = [inputs.B, inputs.C]
  if inputs.keep is not None:
    # Copies need a multiple of 16 bytes.
    columns.append(jnp.repeat(inputs.keep[..., None], 4, axis=-1))
  columns = jnp.concatenate(columns, axis=-1)
  return {"x": inputs.x, "delta": inputs.delta, "columns": columns}


def constants_of(inputs: _inputs.Inputs) -> dict[str, jax.Array]:
  """Returns the arrays of a whole row, with exp(delta A) as a power of two."""
  A = inputs.A * math.log2(math.e)
  return {"A": A, "D": inputs.D, "init": inputs.h}


@_calls.in_32_bits
def call(
  body: Callable,
  name: str,
  form: support.Form,
  arrays: dict[str, jax.Array],
  streamed: tuple[str, ...],
  outs: dict[str, jax.ShapeDtypeStruct],
  scratch: dict,
  stages: int,
  reverse: bool = False,
) -> dict[str, jax.Array]:
  """Runs `body` in every block; its loop waits for and releases tiles."""
  rows, time, d = arrays["x"].shape
  tiles = time // TILE
  stages = min(stages, tiles)
  shapes = {
    "columns": (TILE, arrays["columns"].shape[2]),
    "states": (arrays["A"].shape[0], CHANNELS),
  }
  buffers = {
    key: plgpu.SMEM(
      (stages, *shapes.get(key, (TILE, CHANNELS))), arrays[key].dtype
    )
    for key in streamed
  }
  barriers = plgpu.Barrier(num_arrivals=len(streamed), num_barriers=stages)

  def kernel(*given, buffers, barriers, **more):
    refs = dict(zip([*arrays, *outs], given, strict=True)) | more
    block, row = lax.axis_index("block"), lax.axis_index("row")
    channels = pl.ds(block * CHANNELS, CHANNELS)

    def fetch(step, slot):
      k = tiles - 1 - step if reverse else step
      times = pl.ds(k * TILE, TILE)
      parts = {
        "columns": (row, times),
        "states": (row, k, slice(None), channels),
      }
      for key in streamed:
        part = refs[key].at[parts.get(key, (row, times, channels))]
        plgpu.copy_gmem_to_smem(part, buffers[key].at[slot], barriers.at[slot])

    def wait(step):
      slot = lax.rem(step, stages)
      plgpu.barrier_wait(barriers.at[slot])
      return {key: buffer.at[slot] for key, buffer in buffers.items()}

    def release(step):
      # All threads have read the tile.
      plgpu.commit_smem()

      @pl.when(step + stages < tiles)
      def _():
        fetch(step + stages, lax.rem(step, stages))

    for step in range(stages):
      fetch(step, step)
    body(refs, channels, row, wait, release)

  results = _hopper.call(
    name,
    form,
    kernel,
    {"block": d // CHANNELS, "row": rows},
    outs.values(),
    {"buffers": buffers, "barriers": barriers} | scratch,
    arrays.values(),
    arrays["x"],
    # Threads share only tiles and `products`, whose barriers are above.
    unsafe_no_auto_barriers=True,
    **_hopper.APPROXIMATE,
  )
  return dict(zip(outs, results, strict=True))


def vector(ref) -> jax.Array:
  """Loads one number per thread."""
  return plgpu.load(ref, layout=VECTOR, optimized=False)


def begin(ref, n: int) -> tuple[jax.Array, ...]:
  """Loads the initial states of a loop."""
  # The product has the type of the loop's results inside `jax.shard_map`.
  return tuple(vector(ref.at[j]) * 1.0 for j in range(n))


def load(tile: dict, t) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns x, delta and their product for element t, in float32."""
  x, delta = (
    vector(tile[key].at[t]).astype(jnp.float32) for key in ("x", "delta")
  )
  return x, delta, delta * x


def alive_at_of(inputs: _inputs.Inputs) -> Callable:
  """Returns a function that tells threads if element t keeps the state."""
  if inputs.keep is None:
    return lambda columns, t: None
  at = 2 * inputs.A.shape[0]
  shape = (CHANNELS,)
  return lambda columns, t: jnp.broadcast_to(columns[t, at], shape) > 0


def remains(alive: jax.Array | None, state: jax.Array) -> jax.Array:
  """Sets the state to zeros at resets."""
  return state if alive is None else jnp.where(alive, state, 0.0)
