"""The selective scan on a GPU (Hopper): a thread owns a channel and its states.

A block of 128 threads walks over time, its states in registers. Tiles of time
come in by TMA, several in flight; B, C and the flags are the same for all
threads and are read as scalars from shared memory. The backward pass walks the
tiles in reverse: it computes what remains of the states of a tile again from
the state that entered it, keeps that in shared memory, and goes back through
it. Sums over the channels of a block go through shared memory, some elements at
a time; those of different blocks are added by XLA.

Equations as in `_selective_chunk`; with p_t = a_t h_{t-1}, or 0 at a reset,
the state is h_t = p_t + B_t u_t, and w_t = lam_t p_t.
"""

import functools
import math

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.recurrence.kernels import selective_vjp
from jaxseq.recurrence.kernels import support

# Elements of a tile. What a tile keeps for its way back fills half of the
# shared memory.
TILE = 16
# Tiles in flight.
_STAGES = 4
_STAGES_BACK = 2
# Elements of the body of a loop: more only take longer to compile.
_STEPS = 4
_CHANNELS = 128
# Products that are summed at once: rows of the matrix layout, and the stride
# between them with which threads that read different rows meet no bank twice.
_ROWS, _STRIDE = 64, 136
_VECTOR = plgpu.Layout.WG_STRIDED((_CHANNELS,), vec_size=1)


def forward(
  form: support.Form, inputs: selective_vjp.Inputs, *, save: bool
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Runs the scan.

  Args:
    form: whether Pallas's interpreter runs it, and which.
    inputs: padded to whole tiles, 128 channels and 8 or 16 states.
    save: whether to return the states that enter the tiles.

  Returns:
    Y in the dtype of x, the last state, and [R, T / TILE, N, D] states or None.
  """
  rows, time, d = inputs.x.shape
  n = inputs.A.shape[0]
  alive_at = _alive_at(inputs)
  outs = {"y": _out(inputs.x, rows, time, d), "final": _wide(rows, n, d)}
  if save:
    outs["states"] = _wide(rows, time // TILE, n, d)
  arrays = _tiles(inputs) | _constants(inputs)
  streamed = ("x", "delta", "columns")

  def body(refs, channels, row, wait, release):
    A = [_vector(refs["A"].at[j, channels]) for j in range(n)]
    D = _vector(refs["D"].at[channels])
    h = _begin(refs["init"].at[row, :, channels], n)

    def tile(k, h):
      if save:
        for j in range(n):
          refs["states"][row, k, j, channels] = h[j]
      current = wait(k)

      def steps(i, h):
        for step in range(_STEPS):
          t = i * _STEPS + step
          x, delta, u = _load(current, t)
          alive = alive_at(current["columns"], t)
          y, after = D * x, []
          for j in range(n):
            p = _remains(alive, jnp.exp2(delta * A[j]) * h[j])
            after.append(p + current["columns"][t, j] * u)
            y = y + current["columns"][t, n + j] * after[j]
          refs["y"][row, k * TILE + t, channels] = y.astype(inputs.x.dtype)
          h = tuple(after)
        return h

      h = lax.fori_loop(0, TILE // _STEPS, steps, h)
      release(k)
      return h

    h = lax.fori_loop(0, time // TILE, tile, h)
    for j in range(n):
      refs["final"][row, j, channels] = h[j]

  found = _call(
    body, "selective_forward", form, arrays, streamed, outs, {}, _STAGES
  )
  return found["y"], found["final"], found.get("states")


def backward(
  form: support.Form,
  inputs: selective_vjp.Inputs,
  states: jax.Array,
  g: jax.Array,
  g_final: jax.Array,
) -> selective_vjp.Inputs:
  """Cotangents of the inputs.

  Args:
    form: whether Pallas's interpreter runs it, and which.
    inputs: those of `forward`.
    states: those that entered the tiles.
    g: cotangent of y, in its dtype.
    g_final: cotangent of the last state, float32.

  Returns:
    Cotangents in float32, but those of x and delta in their dtypes.
  """
  rows, time, d = inputs.x.shape
  n = inputs.A.shape[0]
  tiles, width = time // TILE, 2 * n
  alive_at = _alive_at(inputs)
  outs = {
    "d_x": _out(inputs.x, rows, time, d),
    "d_delta": _out(inputs.delta, rows, time, d),
    "d_columns": _wide(rows, d // _CHANNELS, time * width),
    "d_A": _wide(rows, n, d),
    "d_D": _wide(rows, d),
    "d_h": _wide(rows, n, d),
  }
  arrays = _tiles(inputs) | {"g": g, "states": states} | _constants(inputs)
  arrays["g_final"] = g_final
  streamed = ("x", "delta", "columns", "g")
  if inputs.x.dtype.itemsize == 2:
    # With wider inputs there is no room for them in shared memory.
    streamed += ("states",)
  scratch = {
    "kept": plgpu.SMEM((TILE, n, _CHANNELS), jnp.float32),
    "products": plgpu.SMEM((_ROWS, _STRIDE), jnp.float32),
    "sums": plgpu.SMEM((TILE * width,), jnp.float32),
  }
  together = _ROWS // width

  def body(refs, channels, row, wait, release):
    A = [_vector(refs["A"].at[j, channels]) for j in range(n)]
    D = _vector(refs["D"].at[channels])
    kept, products = refs["kept"], refs["products"]
    block = lax.axis_index("block")

    def again(current, k):
      def steps(i, h):
        for step in range(_STEPS):
          t = i * _STEPS + step
          _, delta, u = _load(current, t)
          alive, after = alive_at(current["columns"], t), []
          for j in range(n):
            p = _remains(alive, jnp.exp2(delta * A[j]) * h[j])
            kept[t, j, :] = p
            after.append(p + current["columns"][t, j] * u)
          h = tuple(after)
        return h

      beside = refs["states"].at[row, k, :, channels]
      entering = current.get("states", beside)
      h = _begin(entering, n)
      lax.fori_loop(0, TILE // _STEPS, steps, h)

    def back(current, k, t, line, carry):
      """One element; its products go to rows of `products` from `line` on."""
      mu, sum_A, sum_D = carry
      x, delta, u = _load(current, t)
      g = _vector(current["g"].at[t]).astype(jnp.float32)
      alive = alive_at(current["columns"], t)
      d_a = d_u = jnp.zeros_like(u)
      mu, sum_A = list(mu), list(sum_A)
      for j in range(n):
        p = _vector(kept.at[t, j])
        B, C = current["columns"][t, j], current["columns"][t, n + j]
        lam = mu[j] + C * g
        w = lam * p
        products[line + j, pl.ds(0, _CHANNELS)] = lam * u
        products[line + n + j, pl.ds(0, _CHANNELS)] = g * (p + B * u)
        d_u = d_u + B * lam
        d_a = d_a + A[j] * w
        sum_A[j] = sum_A[j] + delta * w
        mu[j] = _remains(alive, jnp.exp2(delta * A[j]) * lam)
      # A was scaled by log2(e), which is taken back.
      d_delta = math.log(2) * d_a + d_u * x
      at = row, k * TILE + t, channels
      refs["d_x"][at] = (d_u * delta + D * g).astype(inputs.x.dtype)
      refs["d_delta"][at] = d_delta.astype(inputs.delta.dtype)
      return tuple(mu), tuple(sum_A), sum_D + g * x

    def tile(step, carry):
      k = tiles - 1 - step
      current = wait(step)
      again(current, k)

      def group(i, carry):
        i = TILE // together - 1 - i
        for place in reversed(range(together)):
          t = i * together + place
          carry = back(current, k, t, place * width, carry)
        plgpu.commit_smem()
        # Every thread has written its channel; each row is read by four.
        parts = [
          plgpu.load(
            products.at[:, pl.ds(start, 8)],
            layout=plgpu.Layout.WGMMA,
            optimized=False,
          )
          for start in range(0, _CHANNELS, 8)
        ]
        total = jnp.sum(functools.reduce(jnp.add, parts), axis=1)
        refs["sums"][pl.ds(i * _ROWS, _ROWS)] = total
        plgpu.commit_smem()
        return carry

      carry = lax.fori_loop(0, TILE // together, group, carry)
      where = pl.ds(k * TILE * width, TILE * width)
      plgpu.copy_smem_to_gmem(
        refs["sums"], refs["d_columns"].at[row, block, where]
      )
      plgpu.wait_smem_to_gmem(0, wait_read_only=True)
      release(step)
      return carry

    zero = plgpu.layout_cast(jnp.zeros_like(D), _VECTOR)
    mu = _begin(refs["g_final"].at[row, :, channels], n)
    carry = mu, (zero,) * n, zero
    mu, sum_A, sum_D = lax.fori_loop(0, tiles, tile, carry)
    plgpu.wait_smem_to_gmem(0)
    for j in range(n):
      refs["d_h"][row, j, channels] = mu[j]
      refs["d_A"][row, j, channels] = sum_A[j]
    refs["d_D"][row, channels] = sum_D

  found = _call(
    body,
    "selective_backward",
    form,
    arrays,
    streamed,
    outs,
    scratch,
    _STAGES_BACK,
    reverse=True,
  )
  columns = found["d_columns"].reshape(rows, -1, time, width)
  d_B, d_C = jnp.split(jnp.sum(columns, axis=1), 2, axis=-1)
  d_A, d_D = (jnp.sum(found[name], axis=0) for name in ("d_A", "d_D"))
  return selective_vjp.Inputs(
    found["d_x"], found["d_delta"], d_A, d_B, d_C, d_D, found["d_h"], None
  )


def _out(like, *shape):
  return jax.ShapeDtypeStruct(shape, like.dtype)


def _wide(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _tiles(inputs):
  """What comes with each element: B, C and the flag side by side."""
  columns = [inputs.B, inputs.C]
  if inputs.keep is not None:
    # Copies want a multiple of 16 bytes.
    columns.append(jnp.repeat(inputs.keep[..., None], 4, axis=-1))
  columns = jnp.concatenate(columns, axis=-1)
  return {"x": inputs.x, "delta": inputs.delta, "columns": columns}


def _constants(inputs):
  """What does not; exp(delta A) becomes a power of two."""
  A = inputs.A * math.log2(math.e)
  return {"A": A, "D": inputs.D, "init": inputs.h}


@support.in_32_bits
def _call(
  body,
  name,
  form,
  arrays,
  streamed,
  outs,
  scratch,
  stages,
  reverse=False,
):
  """Runs `body` in every block; its loop waits for and releases tiles.

  `body` is a function of references by name, the block's channels, its row,
  and two functions of the number of a tile, counted as it is walked: `wait`
  returns references to the tile, `release` fetches one into its place.
  """
  rows, time, d = arrays["x"].shape
  tiles = time // TILE
  stages = min(stages, tiles)
  shapes = {
    "columns": (TILE, arrays["columns"].shape[2]),
    "states": (arrays["A"].shape[0], _CHANNELS),
  }
  buffers = {
    key: plgpu.SMEM(
      (stages, *shapes.get(key, (TILE, _CHANNELS))), arrays[key].dtype
    )
    for key in streamed
  }
  barriers = plgpu.Barrier(num_arrivals=len(streamed), num_barriers=stages)

  def kernel(*given, buffers, barriers, **more):
    refs = dict(zip([*arrays, *outs], given, strict=True)) | more
    block, row = lax.axis_index("block"), lax.axis_index("row")
    channels = pl.ds(block * _CHANNELS, _CHANNELS)

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

  results = plgpu.kernel(
    kernel,
    out_type=tuple(outs.values()),
    scratch_types={"buffers": buffers, "barriers": barriers} | scratch,
    grid=(d // _CHANNELS, rows),
    grid_names=("block", "row"),
    # Threads share nothing but tiles and `products`, whose barriers are above.
    compiler_params=plgpu.CompilerParams(
      approx_math=True,
      unsafe_no_auto_barriers=True,
      lowering_semantics=plgpu.LoweringSemantics.Lane,
    ),
    kernel_name=name,
    interpret=support.interpreter(form),
  )(*arrays.values())
  like = arrays["x"]
  results = (support.vary_as(like, x) for x in results)
  return dict(zip(outs, results, strict=True))


def _vector(ref):
  """A number for each thread."""
  return plgpu.load(ref, layout=_VECTOR, optimized=False)


def _begin(ref, n):
  """States that a loop begins with."""
  # The product has the type of what the loop returns inside `jax.shard_map`.
  return tuple(_vector(ref.at[j]) * 1.0 for j in range(n))


def _load(tile, t):
  """X, delta and their product of element t, in float32."""
  x, delta = (
    _vector(tile[key].at[t]).astype(jnp.float32) for key in ("x", "delta")
  )
  return x, delta, delta * x


def _alive_at(inputs):
  """A function: whether element t keeps the state, for each thread, or None."""
  if inputs.keep is None:
    return lambda columns, t: None
  at = 2 * inputs.A.shape[0]
  shape = (_CHANNELS,)
  return lambda columns, t: jnp.broadcast_to(columns[t, at], shape) > 0


def _remains(alive, state):
  """Zeros where an element is reset."""
  return state if alive is None else jnp.where(alive, state, 0.0)
