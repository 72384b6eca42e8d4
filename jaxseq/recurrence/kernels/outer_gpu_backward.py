"""Gradients of queries, keys and decays of `outer_scan` on Hopper.

A block is a warpgroup that takes one chunk of one row, and 64 keys of a group;
its loop goes through the group's heads, whose cotangents add up in registers.
With S the state that enters the chunk, D the cotangent of the one after it, P
the decays between elements, g the outputs' cotangents and e and l the factors
from S and to the state after the chunk,

  dq = sum over heads of (g v^T P) k + e g S^T
  dk = sum over heads of (g v^T P)^T q + l v D^T

where e, l and P stand before rows and between pairs. Arrays are laid out as in
`outer_gpu`, which makes both states, and

  sums    [rows, heads * V / 64, chunks, K / 64, 3, C], see `Sums`
"""

import enum
import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.recurrence import _varying
from jaxseq.recurrence.kernels import outer_gpu
from jaxseq.recurrence.kernels import support

_KEYS = 64  # Of a block; each has gradients in as many registers.


class Sums(enum.IntEnum):
  """Rows of `sums`: what the sums of the log-decays are asked for.

  To be added up over columns and keys.
  """

  LATER = 0  # By outputs, and less what is left to the state, at an element.
  EARLIER = 1  # Minus what pairs take from an element.
  LAST = 2  # To be added up over elements: of the sum of all.


def _kernel(groups, decayed, *refs):
  """All heads of a group, in one chunk of one row, for some of the keys."""
  q_ref, k_ref, v_ref, facts_ref, g_ref, entering_ref, after_ref, *refs = refs
  dq_ref, dk_ref, *refs = refs
  sums_ref = refs.pop(0) if decayed else None
  q, k, v_tiles, g_tiles, facts_tiles, *refs = refs
  entering_tiles, after_tiles, wide_q, wide_k, *refs = refs
  sums = refs.pop(0) if decayed else None
  shared, ready = refs
  C, K, V = outer_gpu.CHUNK, _KEYS, outer_gpu.COLUMNS
  Facts, along, product = outer_gpu.Facts, outer_gpu.along, outer_gpu.product
  heads, chunks, keys = entering_ref.shape[1:4]
  # Blocks of columns of a head, and of all heads of a group.
  columns = entering_ref.shape[4] // V
  steps = heads // groups * columns
  group, parts = lax.axis_index("groups"), keys // K
  block = lax.axis_index("blocks")
  part, block = lax.rem(block, parts), lax.div(block, parts)
  chunk, row = lax.rem(block, chunks), lax.div(block, chunks)
  time = pl.ds(chunk * C, C)
  of_q = row, time, pl.ds(group * keys + part * K, K)

  def fetch(step):
    slot, column = lax.rem(step, outer_gpu.STAGES), group * steps + step
    of_v = row, time, pl.ds(column * V, V)
    head = lax.div(column, columns)
    of_state = pl.ds(part * K, K), pl.ds(lax.rem(column, columns) * V, V)
    for source, target in (
      (v_ref.at[of_v], v_tiles),
      (g_ref.at[of_v], g_tiles),
      (facts_ref.at[row, head, chunk], facts_tiles),
      (entering_ref.at[row, head, chunk, *of_state], entering_tiles),
      (after_ref.at[row, head, chunk, *of_state], after_tiles),
    ):
      plgpu.copy_gmem_to_smem(source, target.at[slot], ready.at[slot])

  def load(ref):
    return plgpu.load(ref, layout=outer_gpu.LAYOUT).astype(jnp.float32)

  def body(dq, dk, step, d_gram):
    slot = lax.rem(step, outer_gpu.STAGES)
    plgpu.barrier_wait(ready.at[slot])
    pl.when(step + 1 < steps)(lambda: fetch(step + 1))
    v, g, facts = v_tiles.at[slot], g_tiles.at[slot], facts_tiles.at[slot]
    entering, after = entering_tiles.at[slot], after_tiles.at[slot]
    outer_gpu.clean(facts, (q, k, v), g)
    # One matrix after the other, for the registers.
    enters = load(g) * along(facts, Facts.ENTER, 0, (C, V))
    wide_q[...] = enters.astype(jnp.bfloat16)
    plgpu.commit_smem()
    plgpu.wgmma(dq, wide_q, entering.transpose((1, 0)))
    if decayed:
      by_outputs = jnp.sum(enters * product(q, entering), 1)
    leaves = load(v) * along(facts, Facts.LEAVE, 0, (C, V))
    wide_k[...] = leaves.astype(jnp.bfloat16)
    plgpu.commit_smem()
    plgpu.wgmma(dk, wide_k, after.transpose((1, 0)))
    if decayed:
      by_states = jnp.sum(leaves * product(k, after), 1)
      of_states = jnp.sum(load(entering) * load(after), 1)
      through = facts[int(Facts.ENTER), C - 1]
      plgpu.wait_smem_to_gmem(0)
      sums[int(Sums.LAST), :] = by_states + through * of_states
      later = by_outputs - by_states
    d_pairs = product(g, v.transpose((1, 0))) * outer_gpu.decays(facts)
    d_gram += d_pairs
    if decayed:
      d_pairs *= product(q, k.transpose((1, 0)))
      sums[int(Sums.LATER), :] = later + jnp.sum(d_pairs, 1)
      sums[int(Sums.EARLIER), :] = jnp.sum(d_pairs, 0)
      plgpu.commit_smem()
      target = sums_ref.at[row, group * steps + step, chunk, part]
      plgpu.copy_smem_to_gmem(sums, target)
    return d_gram

  plgpu.copy_gmem_to_smem(q_ref.at[of_q], q, shared)
  plgpu.copy_gmem_to_smem(k_ref.at[of_q], k, shared)
  fetch(jnp.int32(0))
  plgpu.barrier_wait(shared)

  def gradients(dq, dk):
    zeros = plgpu.layout_cast(jnp.zeros_like(load(q)), outer_gpu.LAYOUT)
    d_gram = lax.fori_loop(0, steps, functools.partial(body, dq, dk), zeros)
    pairs = v_tiles.at[0]
    pairs[...] = d_gram.astype(jnp.bfloat16)
    plgpu.commit_smem()
    plgpu.wgmma(dq, pairs, k)
    plgpu.wgmma(dk, pairs.transpose((1, 0)), q)
    return dq[...], dk[...]

  like_q = plgpu.ACC((C, K), jnp.float32)
  dq, dk = pl.run_scoped(gradients, like_q, like_q)
  wide_q[...] = dq.astype(jnp.bfloat16)
  wide_k[...] = dk.astype(jnp.bfloat16)
  plgpu.commit_smem()
  plgpu.copy_smem_to_gmem(wide_q, dq_ref.at[of_q])
  plgpu.copy_smem_to_gmem(wide_k, dk_ref.at[of_q])
  plgpu.wait_smem_to_gmem(0)


@support.in_32_bits
def backward(
  form: support.Form,
  groups: int,
  x: outer_gpu.Blocks,
  g: jax.Array,
  entering: jax.Array,
  after: jax.Array,
  decayed: bool,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Cotangents of q and k, and `sums` if there are decays.

  Args:
    form: of the kernel.
    groups: of heads that share q and k.
    x: see there.
    g: cotangents of the outputs, like v.
    entering: states that enter the chunks, as `outer_gpu.scan` keeps them.
    after: cotangents of those after the chunks, likewise.
    decayed: whether there are decays.
  """
  rows, heads, chunks, K, V = entering.shape
  C, stages = outer_gpu.CHUNK, outer_gpu.STAGES
  parts, wide = K // _KEYS, outer_gpu.COLUMNS
  sums = rows, heads * V // wide, chunks, parts, len(Sums), C
  like_v = outer_gpu.tile(stages, C, wide)
  like_state = outer_gpu.tile(stages, _KEYS, wide)
  like_q = outer_gpu.tile(C, _KEYS)
  found = plgpu.kernel(
    functools.partial(_kernel, groups, decayed),
    out_type=(
      *(jax.ShapeDtypeStruct(y.shape, y.dtype) for y in (x.q, x.k)),
      *([jax.ShapeDtypeStruct(sums, jnp.float32)] if decayed else []),
    ),
    # Blocks that read the same follow each other.
    grid=(groups, rows * chunks * parts),
    grid_names=("groups", "blocks"),
    scratch_types=[
      *(like_q, like_q, like_v, like_v),
      plgpu.SMEM((stages, len(outer_gpu.Facts), C), jnp.float32),
      *(like_state, like_state, like_q, like_q),
      *([plgpu.SMEM((len(Sums), C), jnp.float32)] if decayed else []),
      plgpu.Barrier(num_arrivals=2),
      plgpu.Barrier(num_arrivals=5, num_barriers=stages),
    ],
    compiler_params=outer_gpu.COMPILER_PARAMS,
    interpret=support.interpreter(form),
    kernel_name="outer_backward",
  )(*x, g, entering, after)
  dq, dk, *sums = (_varying.vary_as(x.v, y) for y in found)
  return dq, dk, sums[0] if decayed else None
