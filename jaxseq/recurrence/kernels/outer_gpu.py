"""Chunks of `outer_scan` on Hopper, with a decay per head or none: outputs.

A block is a warpgroup that takes one row, one head and some columns of its
values through all chunks, with the state in registers. The next chunk's arrays
are on their way while one is computed. Arrays are as projections leave them:

  q, k    [rows, time, groups * K]
  v       [rows, time, heads * V]
  facts   [rows, heads, chunks, F, C], see `Facts`
  state   [rows, heads, K, V]

What the gradient needs is not kept: it is that of the products without kernels.
"""

import enum
import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.recurrence.kernels import support

CHUNK = 64  # Rows of a product of the warpgroup.


class Facts(enum.IntEnum):
  """Rows of `facts`, each of one number for an element."""

  SUMS = 0  # Of the log-decays.
  EPISODE = 1  # Resets up to the element.
  ENTER = 2  # Factor from the state before the chunk.
  LEAVE = 3  # Factor to the state after it.


# Columns of values of one block: with 128 keys its registers hold such a state.
COLUMNS = 64
MOST_KEYS = 128
_STAGES = 2


def outer_forward(keys, chunks, groups, heads, *refs):
  """All chunks of one row, head and block of columns."""
  q_ref, k_ref, v_ref, facts_ref, init_ref, o_ref, final_ref, *refs = refs
  q_tiles, k_tiles, v_tiles, facts_tiles, scores, mixed, narrow, ready = refs
  C, K, V = CHUNK, keys, COLUMNS
  row, head = lax.axis_index("rows"), lax.axis_index("heads")
  head_columns = v_ref.shape[2] // heads
  of_v = pl.ds(head * head_columns + lax.axis_index("columns") * V, V)
  of_k = pl.ds(head * groups // heads * K, K)
  of_state = pl.ds(lax.axis_index("columns") * V, V)
  layout = plgpu.Layout.WGMMA

  def fetch(chunk):
    slot = lax.rem(chunk, jnp.int32(_STAGES))
    time = pl.ds(chunk * C, C)
    for source, target in (
      (q_ref.at[row, time, of_k], q_tiles),
      (k_ref.at[row, time, of_k], k_tiles),
      (v_ref.at[row, time, of_v], v_tiles),
      (facts_ref.at[row, head, chunk], facts_tiles),
    ):
      plgpu.copy_gmem_to_smem(source, target.at[slot], ready.at[slot])

  def product(x, y):
    def run(sums):
      plgpu.wgmma(sums, x, y)
      return sums[...]

    shape = x.shape[0], y.shape[1]
    return pl.run_scoped(run, plgpu.ACC(shape, jnp.float32))

  def body(chunk, state):
    slot = lax.rem(chunk, jnp.int32(_STAGES))
    narrow[...] = state.astype(jnp.bfloat16)
    plgpu.barrier_wait(ready.at[slot])
    pl.when(chunk + 1 < chunks)(lambda: fetch(chunk + 1))
    q, k, v = q_tiles.at[slot], k_tiles.at[slot], v_tiles.at[slot]

    def along(fact, axis, shape):
      """A fact of the elements of an axis."""
      x = plgpu.load(
        facts_tiles.at[slot, int(fact)], layout=layout.reduce(1 - axis)
      )
      return lax.broadcast_in_dim(x, shape, [axis])

    values = plgpu.load(v, layout=layout).astype(jnp.float32)
    leaving = values * along(Facts.LEAVE, 0, (C, V))
    mixed[...] = leaving.astype(jnp.bfloat16)
    pairs = C, C
    later, earlier = (
      plgpu.broadcasted_iota(jnp.int32, pairs, axis, layout=layout)
      for axis in (0, 1)
    )
    gram = product(q, k.transpose((1, 0)))
    seen = (later >= earlier) & (
      along(Facts.EPISODE, 0, pairs) == along(Facts.EPISODE, 1, pairs)
    )
    decays = along(Facts.SUMS, 0, pairs) - along(Facts.SUMS, 1, pairs)
    decays = jnp.exp(jnp.where(seen, decays, -jnp.inf))
    # The outputs of the chunk before have left.
    plgpu.wait_smem_to_gmem(0)
    scores[...] = (gram * decays).astype(jnp.bfloat16)
    plgpu.commit_smem()
    o = product(q, narrow) * along(Facts.ENTER, 0, (C, V))
    o += product(scores, v)
    # Outputs leave from where the scores were.
    scores[...] = o.astype(jnp.bfloat16)
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(scores, o_ref.at[row, pl.ds(chunk * C, C), of_v])
    through = facts_tiles[slot, int(Facts.ENTER), C - 1]
    state = through * state + product(k.transpose((1, 0)), mixed)
    return state

  fetch(jnp.int32(0))
  state = plgpu.load(
    init_ref.at[row, head, :, of_state], layout=layout, optimized=False
  )
  # The product has the type of what the loop returns inside `jax.shard_map`.
  state = lax.fori_loop(0, chunks, body, state * 1.0)
  final_ref[row, head, :, of_state] = state
  plgpu.wait_smem_to_gmem(0)


def _tile(*shape):
  """Shared memory for an operand of products."""
  swizzle = plgpu.find_swizzle(shape[-1] * 16)
  transforms = (
    plgpu.TilingTransform((8, swizzle // 2)),
    plgpu.SwizzleTransform(swizzle),
  )
  return plgpu.SMEM(shape, jnp.bfloat16, transforms=transforms)


@support.in_32_bits
def forward(
  form: support.Form,
  groups: int,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  facts: jax.Array,
  init: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Outputs like v, and the last state; see above for the arrays.

  Time is a multiple of `CHUNK`, K one of 64 of at most `MOST_KEYS`, and V
  one of `COLUMNS`; q, k and v are bfloat16, the others float32.
  """
  rows, heads, K, V = init.shape
  wide, stages = COLUMNS, (_STAGES, CHUNK)
  found = plgpu.kernel(
    functools.partial(outer_forward, K, facts.shape[2], groups, heads),
    out_type=(
      jax.ShapeDtypeStruct(v.shape, v.dtype),
      jax.ShapeDtypeStruct(init.shape, jnp.float32),
    ),
    grid=(rows, heads, V // wide),
    grid_names=("rows", "heads", "columns"),
    scratch_types=[
      *(_tile(*stages, K), _tile(*stages, K), _tile(*stages, wide)),
      plgpu.SMEM((_STAGES, len(Facts), CHUNK), jnp.float32),
      *(_tile(CHUNK, CHUNK), _tile(CHUNK, wide), _tile(K, wide)),
      plgpu.Barrier(num_arrivals=4, num_barriers=_STAGES),
    ],
    compiler_params=plgpu.CompilerParams(
      lowering_semantics=plgpu.LoweringSemantics.Lane
    ),
    interpret=support.interpreter(form),
    kernel_name="outer_forward",
  )(q, k, v, facts, init)
  return tuple(support.vary_as(v, x) for x in found)
