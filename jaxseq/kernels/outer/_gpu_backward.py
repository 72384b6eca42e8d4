"""Gradients of queries, keys and decays of `outer_scan` on Hopper.

A block computes one chunk of one row, and 64 keys of a group. With S the
entering state, D the cotangent of the state after, P the decays between
elements, g the outputs' cotangents, e and l the factors from S and to the state
after,

  dq = sum over heads of (g v^T P) k + e g S^T
  dk = sum over heads of (g v^T P)^T q + l v D^T

With a column of ones of cotangent g_1, g v^T has an addend g_1 in each row.
"""

import enum
import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.kernels.outer import _gpu
from jaxseq.recurrence.platform import support

_KEYS = 64  # Keys per block; each has gradients in as many registers.


class Sums(enum.IntEnum):
  """Rows of `sums`: cotangents of the sums of log-decays.

  To be added up over columns and keys.
  """

  LATER = 0  # From an element's outputs, minus those from the state.
  EARLIER = 1  # Minus those from an element's pairs.
  LAST = 2  # Of the total sum; to be added up over elements.
  WEIGHT = 3  # Of the key's log-weight; only with a column of ones.


def _kernel(groups, decayed, weighted, *refs):
  """Computes all heads of a group, for one chunk of one row and some keys."""
  q_ref, k_ref, v_ref, facts_ref, g_ref, entering_ref, after_ref, *refs = refs
  if weighted:
    ones_entering_ref, ones_after_ref, *refs = refs
  dq_ref, dk_ref, *refs = refs
  sums_ref = refs.pop(0) if decayed else None
  q, k, v_tiles, g_tiles, facts_tiles, *refs = refs
  entering_tiles, after_tiles, wide_q, wide_k, *refs = refs
  sums = refs.pop(0) if decayed else None
  if weighted:
    of_head, ones_entering, ones_after, *refs = refs
  shared, ready = refs
  C, K, V = _gpu.CHUNK, _KEYS, _gpu.COLUMNS
  Facts, along, product = _gpu.Facts, _gpu.along, _gpu.product
  Weighted, fact_of = _gpu.Weighted, _gpu.fact_of
  spread = _gpu.spread
  heads, chunks, keys = entering_ref.shape[1:4]
  # Blocks of columns of a head, and of all heads of a group.
  columns = entering_ref.shape[4] // V
  steps = heads // groups * columns
  group, parts = lax.axis_index("groups"), keys // K
  block = lax.axis_index("blocks")
  turns = steps
  if turns == 2:
    # The compiler would unroll two rounds, for which there are too few
    # registers. It cannot know that no such block exists.
    turns += lax.div(block, 2**30)
  part, block = lax.rem(block, parts), lax.div(block, parts)
  chunk, row = lax.rem(block, chunks), lax.div(block, chunks)
  time = pl.ds(chunk * C, C)
  of_q = row, time, pl.ds(group * keys + part * K, K)

  def fetch(step):
    slot, column = lax.rem(step, _gpu.STAGES), group * steps + step
    of_v = row, time, pl.ds(column * V, V)
    head = lax.div(column, columns)
    of_state = pl.ds(part * K, K), pl.ds(lax.rem(column, columns) * V, V)
    pairs = (
      (v_ref.at[of_v], v_tiles.at[slot]),
      (g_ref.at[of_v], g_tiles.at[slot]),
      (facts_ref.at[row, head, chunk], facts_tiles.at[slot]),
      (entering_ref.at[row, head, chunk, *of_state], entering_tiles.at[slot]),
      (after_ref.at[row, head, chunk, *of_state], after_tiles.at[slot]),
    )
    _hopper.fetch(pairs, ready.at[slot])

  def load(ref):
    return plgpu.load(ref, layout=_gpu.LAYOUT).astype(jnp.float32)

  def send(step, later, d_pairs):
    """Completes the sums of a step, and writes them."""
    d_pairs *= product(q, k.transpose((1, 0)))
    sums[int(Sums.LATER), :] = later + jnp.sum(d_pairs, 1)
    sums[int(Sums.EARLIER), :] = jnp.sum(d_pairs, 0)
    plgpu.commit_smem()
    slot = group * (steps + weighted) + step
    plgpu.copy_smem_to_gmem(sums, sums_ref.at[row, slot, chunk, part])

  def body(dq, dk, step, d_gram):
    slot = lax.rem(step, _gpu.STAGES)
    plgpu.barrier_wait(ready.at[slot])
    pl.when(step + 1 < steps)(lambda: fetch(step + 1))
    v, g, facts = v_tiles.at[slot], g_tiles.at[slot], facts_tiles.at[slot]
    entering, after = entering_tiles.at[slot], after_tiles.at[slot]
    _gpu.clean(facts, (q, k, v), g)
    # One matrix after the other, to save registers.
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
      if weighted:
        sums[int(Sums.WEIGHT), :] = by_states
      later = by_outputs - by_states
    d_pairs = product(g, v.transpose((1, 0)))
    d_pairs *= _gpu.decays(facts, weighted=weighted)
    d_gram += d_pairs
    if decayed:
      send(step, later, d_pairs)
    return d_gram

  def of_keys(vector):
    """Broadcasts a state of the column of ones along columns."""
    return spread(plgpu.load(vector, layout=_gpu.LAYOUT.reduce(0)), 1)

  def enters():
    return fact_of(of_head, Facts.ENTER) * fact_of(of_head, Weighted.GIVEN)

  def pairs_of_ones():
    pair_weights = along(of_head, Weighted.GIVEN, 0, (C, C))
    return pair_weights * _gpu.decays(of_head, weighted=True)

  def sums_of_ones():
    """Adds the sums of the column of ones."""
    later = enters() * jnp.sum(load(q) * of_keys(ones_entering), 1)
    by_states = jnp.sum(load(k) * of_keys(ones_after), 1)
    by_states *= fact_of(of_head, Facts.LEAVE)
    plgpu.wait_smem_to_gmem(0)
    sums[int(Sums.LAST), :] = by_states
    sums[int(Sums.WEIGHT), :] = by_states
    send(steps, later - by_states, pairs_of_ones())

  _hopper.fetch(((q_ref.at[of_q], q), (k_ref.at[of_q], k)), shared)
  if weighted:
    of_state = row, group, chunk, pl.ds(part * K, K)
    pairs = (
      (facts_ref.at[row, group, chunk], of_head),
      (ones_entering_ref.at[of_state], ones_entering),
      (ones_after_ref.at[of_state], ones_after),
    )
    _hopper.fetch(pairs, shared)
  fetch(jnp.int32(0))
  plgpu.barrier_wait(shared)

  def gradients(dq, dk):
    zeros = plgpu.layout_cast(jnp.zeros_like(load(q)), _gpu.LAYOUT)
    d_gram = lax.fori_loop(0, turns, functools.partial(body, dq, dk), zeros)
    if weighted:
      sums_of_ones()
      d_gram += pairs_of_ones()
    pairs = v_tiles.at[0]
    pairs[...] = d_gram.astype(jnp.bfloat16)
    plgpu.commit_smem()
    plgpu.wgmma(dq, pairs, k)
    plgpu.wgmma(dk, pairs.transpose((1, 0)), q)
    cotangent = dq[...]
    if weighted:
      cotangent += spread(enters(), 0) * of_keys(ones_entering)
    wide_q[...] = cotangent.astype(jnp.bfloat16)
    cotangent = dk[...]
    if weighted:
      leaves = fact_of(of_head, Facts.LEAVE)
      cotangent += spread(leaves, 0) * of_keys(ones_after)
    wide_k[...] = cotangent.astype(jnp.bfloat16)

  like_q = plgpu.ACC((C, K), jnp.float32)
  pl.run_scoped(gradients, like_q, like_q)
  plgpu.commit_smem()
  plgpu.copy_smem_to_gmem(wide_q, dq_ref.at[of_q])
  plgpu.copy_smem_to_gmem(wide_k, dk_ref.at[of_q])
  plgpu.wait_smem_to_gmem(0)


@_calls.in_32_bits
def backward(
  form: support.Form,
  groups: int,
  x: _gpu.Blocks,
  g: jax.Array,
  entering: jax.Array,
  after: jax.Array,
  decayed: bool,
  ones: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Returns the cotangents of q and k, and `sums` if there are decays."""
  rows, heads, chunks, K, V = entering.shape
  C, stages = _gpu.CHUNK, _gpu.STAGES
  parts, wide = K // _KEYS, _gpu.COLUMNS
  weighted = ones is not None
  count = len(Sums) if weighted else int(Sums.WEIGHT)
  blocks = heads * (V // wide + weighted)
  sums = rows, blocks, chunks, parts, count, C
  like_v = _gpu.tile(stages, C, wide)
  like_state = _gpu.tile(stages, _KEYS, wide)
  like_q = _gpu.tile(C, _KEYS)
  of_ones = [plgpu.SMEM((x.facts.shape[3], C), jnp.float32)]
  of_ones += [plgpu.SMEM((_KEYS,), jnp.float32)] * 2
  dq, dk, *sums = _hopper.call(
    "outer_backward",
    form,
    functools.partial(_kernel, groups, decayed, weighted),
    # Consecutive blocks read the same arrays.
    {"groups": groups, "blocks": rows * chunks * parts},
    [
      *(jax.ShapeDtypeStruct(y.shape, y.dtype) for y in (x.q, x.k)),
      *([_hopper.float32(sums)] if decayed else []),
    ],
    [
      *(like_q, like_q, like_v, like_v),
      plgpu.SMEM((stages, x.facts.shape[3], C), jnp.float32),
      *(like_state, like_state, like_q, like_q),
      *([plgpu.SMEM((count, C), jnp.float32)] if decayed else []),
      *(of_ones if weighted else []),
      plgpu.Barrier(num_arrivals=5 if weighted else 2),
      plgpu.Barrier(num_arrivals=5, num_barriers=stages),
    ],
    (*x, g, entering, after, *(ones or ())),
    x.v,
    **_hopper.APPROXIMATE,
  )
  return dq, dk, sums[0] if decayed else None
