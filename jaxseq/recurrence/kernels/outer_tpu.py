"""Chunks of `outer_scan` on a TPU, with a decay per head or none.

A program takes a chunk of one row and some of its heads. Chunks follow each
other in time, and the states of all heads of a group stay on the chip. Arrays
are as projections leave them, heads side by side in the last axis:

  q, k    [rows, time, groups * K]
  v       [rows, time, heads * V]
  state   [rows, blocks of groups, blocks of heads, K, W]
  facts   [rows, blocks of groups, blocks of heads, chunks, F, C], see `Facts`

where W is what one program takes of the last axis of v. The formulas are those
of `_outer_forms.scalar`; factors of the state stand beside v, where heads that
share q and k share a product, too.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp

from jaxseq.recurrence.kernels import outer_products
from jaxseq.recurrence.kernels import support

dot = outer_products.dot
keep = outer_products.keep

# Bytes that a program may take: less than the chips have (128 MiB on v5e), more
# than the compiler gives by itself.
_VMEM = 96 * 2**20


class Plan(NamedTuple):
  """Sizes and kinds of one call; static.

  Attributes:
    groups: of one program.
    heads: of each of them, in one program.
    keys: K.
    values: V.
    chunk: C.
    decay: whether there are decays.
    reset: whether there are resets.
    form: of the kernel.
  """

  groups: int
  heads: int
  keys: int
  values: int
  chunk: int
  decay: bool
  reset: bool
  form: support.Form

  @property
  def wide(self) -> int:
    """What one group takes of W."""
    return self.heads * self.values


class Facts(NamedTuple):
  """Where the rows of `facts` begin; each has one number for an element.

  Attributes:
    high: sums of the decays, a row for each head.
    low: what is left over of them.
    bad: 1 where the decay is no number that a state survives.
    episode: the resets up to the element, eight equal rows.
    rows: F, a multiple of 8.
  """

  high: int
  low: int
  bad: int
  episode: int
  rows: int

  @classmethod
  def of(cls, plan: Plan) -> "Facts":
    """Those of a plan."""
    heads = plan.groups * plan.heads if plan.decay else 0
    bad = 2 * heads
    episode = bad + heads if plan.reset else bad
    episode += -episode % 8
    return cls(0, heads, bad, episode, episode + 8 * plan.reset)


class _Factors(NamedTuple):
  """What the heads of one group are multiplied by."""

  masks: outer_products.Masks
  pairs: list[jax.Array]  # Of each head, [C, C].
  enter: jax.Array  # [C, wide], from the state before the chunk.
  leave: jax.Array  # [C, wide], to the state after it.
  through: jax.Array  # [1, wide], from one to the other.
  bad: jax.Array | None  # [C, wide], as in `Facts`.


def _factors(plan, facts, columns, group):
  """Factors of one group from facts [F, C], and transposed."""
  C, at = plan.chunk, Facts.of(plan)
  episode = facts[at.episode : at.episode + 8] if plan.reset else None
  masks = outer_products.Masks.of(C, episode)
  if not plan.decay:
    pairs = [jnp.where(masks.pairs, 1.0, 0.0)] * plan.heads
    ends = [
      keep(mask, jnp.ones((size, plan.wide), jnp.float32))
      for mask, size in zip(masks[1:], (C, C, 1))
    ]
    return _Factors(masks, pairs, *ends, None)
  heads = [group * plan.heads + head for head in range(plan.heads)]

  def row(first, head):
    return facts[first + head : first + head + 1]

  def column(first, head):
    return columns[:, first + head : first + head + 1]

  pairs, enter, leave, through = [], [], [], []
  for head in heads:
    high, low = column(at.high, head), column(at.low, head)
    pairs.append(
      masks.within((high - row(at.high, head)) + (low - row(at.low, head)))
    )
    last_high, last_low = high[C - 1 :], low[C - 1 :]
    enter.append(keep(masks.enter, jnp.exp(high + low)))
    after = jnp.exp((last_high - high) + (last_low - low))
    leave.append(keep(masks.leave, after))
    through.append(keep(masks.through, jnp.exp(last_high + last_low)))
  beside = functools.partial(outer_products.beside, width=plan.values)
  bad = None
  if plan.reset:
    bad = beside([column(at.bad, head) for head in heads])
  ends = beside(enter), beside(leave), beside(through)
  return _Factors(masks, pairs, *ends, bad)


def _own(plan, group):
  """Where a group's keys and values are in the last axes of its program."""
  keys = slice(group * plan.keys, (group + 1) * plan.keys)
  return keys, slice(group * plan.wide, (group + 1) * plan.wide)


def _head(plan, index):
  return slice(index * plan.values, (index + 1) * plan.values)


def _ruined(x, q, k, v, state):
  """Results that are undefined: outputs, and columns of the state."""
  before = jnp.max(outer_products.broken(state), 0, keepdims=True)
  both = outer_products.ruined(x.masks, q, k, v, before, x.bad)
  return [part > 0 for part in both]


def _forward_kernel(plan, keeps, *refs):
  """One chunk; `final` holds the states of the chunks so far."""
  facts_ref = refs[3] if plan.decay or plan.reset else None
  q_ref, k_ref, v_ref = refs[:3]
  init_ref, o_ref, final_ref, *entering = refs[3 + (facts_ref is not None) :]
  chunk, block = pl.program_id(2), pl.program_id(3)

  @pl.when(chunk == 0)
  def _():
    final_ref[block] = init_ref[block]

  if keeps:
    entering[0][...] = final_ref[block].astype(entering[0].dtype)
  facts = columns = None
  if facts_ref is not None:
    facts = facts_ref[...]
    columns = facts.T
  for group in range(plan.groups):
    keys, values = _own(plan, group)
    q, k, v = q_ref[:, keys], k_ref[:, keys], v_ref[:, values]
    state = final_ref[block, :, values]
    x = _factors(plan, facts, columns, group)
    if plan.reset:
      bad = _ruined(x, q, k, v, state)
      q, k, v, state = map(outer_products.clean, (q, k, v, state))
    gram = dot(q, k, 1, 1)
    parts = [
      dot((gram * pairs).astype(v.dtype), v[:, _head(plan, head)], 1, 0)
      for head, pairs in enumerate(x.pairs)
    ]
    o = jnp.concatenate(parts, axis=1)
    o += x.enter * dot(q, state.astype(q.dtype), 1, 0)
    v = (x.leave * v.astype(jnp.float32)).astype(v.dtype)
    state = x.through * state + dot(k, v, 0, 0)
    if plan.reset:
      o = jnp.where(bad[0], jnp.nan, o)
      state = jnp.where(bad[1], jnp.nan, state)
    o_ref[:, values] = o.astype(o_ref.dtype)
    final_ref[block, :, values] = state


def _backward_kernel(plan, count, *refs):
  """One chunk, the later ones before; `d_init` holds what they ask of it."""
  facts_ref = refs[3] if plan.decay or plan.reset else None
  q_ref, k_ref, v_ref = refs[:3]
  entering_ref, g_ref, d_final_ref, *refs = refs[3 + (facts_ref is not None) :]
  dq_ref, dk_ref, dv_ref, d_init_ref, *refs = refs
  d_facts_ref = refs.pop(0) if plan.decay else None
  sum_q, sum_k = refs
  chunk, block = pl.program_id(2), pl.program_id(3)

  @pl.when(chunk == 0)
  def _():
    d_init_ref[block] = d_final_ref[block]

  @pl.when(block == 0)
  def _():
    sum_q[...] = jnp.zeros_like(sum_q)
    sum_k[...] = jnp.zeros_like(sum_k)

  facts = columns = None
  if facts_ref is not None:
    facts = facts_ref[...]
    columns = facts.T
  sums = []
  for group in range(plan.groups):
    keys, values = _own(plan, group)
    q, k, v = q_ref[:, keys], k_ref[:, keys], v_ref[:, values]
    g = g_ref[:, values]
    state = entering_ref[:, values]
    d_after = d_init_ref[block, :, values]
    x = _factors(plan, facts, columns, group)
    if plan.reset:
      bad = _ruined(x, q, k, v, state)
      g = jnp.where(bad[0], 0.0, g.astype(jnp.float32)).astype(g.dtype)
      d_after = jnp.where(bad[1], 0.0, d_after)
      q, k, v, state = map(outer_products.clean, (q, k, v, state))
    wide_v, wide_g = v.astype(jnp.float32), g.astype(jnp.float32)
    narrow_after = d_after.astype(v.dtype)
    state_read = x.enter * dot(q, state, 1, 0)
    d_leaving = x.leave * dot(k, narrow_after, 1, 0)
    entering = (x.enter * wide_g).astype(v.dtype)
    leaving = (x.leave * wide_v).astype(v.dtype)
    dq, dk = dot(entering, state, 1, 1), dot(leaving, narrow_after, 1, 1)
    gram, d_gram = dot(q, k, 1, 1), 0.0
    d_values = []
    # What the sums of the decays are asked for by the states.
    by_states = wide_g * state_read - wide_v * d_leaving
    by_last = jnp.sum(wide_v * d_leaving, 0, keepdims=True)
    by_last += x.through * jnp.sum(
      d_after * state.astype(jnp.float32), 0, keepdims=True
    )
    for head, pairs in enumerate(x.pairs):
      own = _head(plan, head)
      d_pairs = dot(g[:, own], v[:, own], 1, 1) * pairs
      d_gram += d_pairs
      scores = (gram * pairs).astype(v.dtype)
      d_values.append(dot(scores, g[:, own], 0, 0))
      if plan.decay:
        d_pairs = d_pairs * gram
        column = jnp.sum(d_pairs, 1, keepdims=True)
        column += jnp.sum(by_states[:, own], 1, keepdims=True)
        row = jnp.sum(d_pairs, 0, keepdims=True)
        sums.append((column, row, jnp.sum(by_last[:, own], 1, keepdims=True)))
    dv = d_leaving + jnp.concatenate(d_values, axis=1)
    d_gram = d_gram.astype(q.dtype)
    sum_q[:, keys] += dq + dot(d_gram, k, 1, 0)
    sum_k[:, keys] += dk + dot(d_gram, q, 0, 0)
    dv_ref[:, values] = dv.astype(dv_ref.dtype)
    d_init_ref[block, :, values] = x.through * d_after + dot(q, entering, 0, 0)
  if plan.decay:
    d_facts_ref[...] = _rows(plan, sums)

  @pl.when(block == count - 1)
  def _():
    dq_ref[...] = sum_q[...].astype(dq_ref.dtype)
    dk_ref[...] = sum_k[...].astype(dk_ref.dtype)


def _rows(plan, sums):
  """Cotangents [8 n, C] of the sums of the heads' decays.

  Of each head from columns and rows of the pairs, and what the last sum gets.
  """
  C = plan.chunk
  height = len(sums) + -len(sums) % 8
  lane = lax.broadcasted_iota(jnp.int32, (C, height), 1)
  line = lax.broadcasted_iota(jnp.int32, (height, C), 0)
  element = lax.broadcasted_iota(jnp.int32, (1, C), 1)
  columns = jnp.zeros((C, height), jnp.float32)
  rows = jnp.zeros((height, C), jnp.float32)
  for index, (column, row, last) in enumerate(sums):
    columns = jnp.where(lane == index, column, columns)
    row = jnp.where(element == C - 1, last - row, -row)
    rows = jnp.where(line == index, row, rows)
  return columns.T + rows


class Blocks(NamedTuple):
  """What a call consumes, laid out as above."""

  q: jax.Array
  k: jax.Array
  v: jax.Array
  facts: jax.Array | None


def forward(
  plan: Plan, x: Blocks, init: jax.Array, keeps: bool
) -> tuple[jax.Array, ...]:
  """Outputs like v, the last state, and if asked the state of each chunk.

  Those states enter the chunks, [rows, blocks of groups, chunks, blocks of
  heads, K, W], in the dtype of v.
  """
  specs, grid = _specs(plan, x, init, reverse=False)
  states = jax.ShapeDtypeStruct(
    (init.shape[0], init.shape[1], grid[2], *init.shape[2:]), x.v.dtype
  )
  shapes = [
    jax.ShapeDtypeStruct(x.v.shape, x.v.dtype),
    jax.ShapeDtypeStruct(init.shape, jnp.float32),
    *([states] if keeps else []),
  ]
  facts = [] if x.facts is None else [specs["facts"]]
  return call(
    plan.form,
    functools.partial(_forward_kernel, plan, keeps),
    grid,
    [specs["q"], specs["q"], specs["v"], *facts, specs["state"]],
    [specs["v"], specs["state"], *([specs["entering"]] if keeps else [])],
    shapes,
    [],
    [leaf for leaf in (*x, init) if leaf is not None],
  )


def backward(
  plan: Plan, x: Blocks, entering: jax.Array, g: jax.Array, d_final: jax.Array
) -> tuple[jax.Array, ...]:
  """Cotangents of q, k, v and init, and of the sums of decays if there are.

  The latter [rows, blocks of groups, blocks of heads, chunks, heads of a
  program to a multiple of 8, C].
  """
  specs, grid = _specs(plan, x, d_final, reverse=True)
  shapes = [jax.ShapeDtypeStruct(y.shape, y.dtype) for y in (x.q, x.k, x.v)]
  shapes.append(jax.ShapeDtypeStruct(d_final.shape, jnp.float32))
  outputs = [specs["q"], specs["q"], specs["v"], specs["state"]]
  if plan.decay:
    heads = plan.groups * plan.heads
    lead = x.facts.shape[:4]
    height = heads + -heads % 8
    shapes.append(
      jax.ShapeDtypeStruct((*lead, height, plan.chunk), jnp.float32)
    )
    outputs.append(specs["d_facts"])
  facts = [] if x.facts is None else [specs["facts"]]
  scratch = pltpu.VMEM((plan.chunk, plan.groups * plan.keys), jnp.float32)
  return call(
    plan.form,
    functools.partial(_backward_kernel, plan, grid[3]),
    grid,
    [
      *(specs["q"], specs["q"], specs["v"], *facts),
      *(specs["entering"], specs["v"], specs["state"]),
    ],
    outputs,
    shapes,
    [scratch, scratch],
    [leaf for leaf in (*x, entering, g, d_final) if leaf is not None],
  )


def _specs(plan, x, state, reverse):
  """Blocks of all arrays by name, and the grid."""
  rows, time, _ = x.q.shape
  _, groups, blocks, K, W = state.shape
  C = plan.chunk
  chunks = time // C

  def at(chunk):
    return chunks - 1 - chunk if reverse else chunk

  def of(shape, index):
    return pl.BlockSpec(shape, lambda n, g, c, h: index(n, g, at(c), h))

  heads = plan.groups * plan.heads
  height = Facts.of(plan).rows
  per_chunk = (None, None, None, None)
  specs = {
    "q": of((None, C, plan.groups * K), lambda n, g, c, h: (n, c, g)),
    "v": of((None, C, W), lambda n, g, c, h: (n, c, g * blocks + h)),
    "facts": of((*per_chunk, height, C), lambda n, g, c, h: (n, g, h, c, 0, 0)),
    "d_facts": of(
      (*per_chunk, heads + -heads % 8, C),
      lambda n, g, c, h: (n, g, h, c, 0, 0),
    ),
    "state": of((None, None, blocks, K, W), lambda n, g, c, h: (n, g, 0, 0, 0)),
    "entering": of((*per_chunk, K, W), lambda n, g, c, h: (n, g, c, h, 0, 0)),
  }
  return specs, (rows, groups, chunks, blocks)


def call(
  form: support.Form,
  kernel: Callable[..., None],
  grid: tuple[int, ...],
  in_specs: list[pl.BlockSpec],
  out_specs: list[pl.BlockSpec],
  shapes: list[jax.ShapeDtypeStruct],
  scratch: list[pltpu.VMEM],
  arguments: list[jax.Array],
) -> list[jax.Array]:
  """Calls a kernel over a grid, of which axes from the third go in order."""
  # Inside `jax.shard_map`: results differ between devices as queries do.
  axes = jax.typeof(arguments[0]).manual_axis_type
  shapes = [
    jax.ShapeDtypeStruct(x.shape, x.dtype, manual_axis_type=axes)
    for x in shapes
  ]
  order = ("parallel", "parallel") + ("arbitrary",) * (len(grid) - 2)
  return pl.pallas_call(
    kernel,
    out_shape=shapes,
    grid=grid,
    in_specs=in_specs,
    out_specs=out_specs,
    scratch_shapes=scratch,
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=order, vmem_limit_bytes=_VMEM
    ),
    interpret=support.interpreter(form),
  )(*arguments)
