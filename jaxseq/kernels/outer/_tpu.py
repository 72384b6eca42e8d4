"""Chunks of `outer_scan` on a TPU, with a decay per head or none.

A program computes a chunk of one row and some of its heads, by the formulas of
`_outer_forms.scalar`; the states of all heads of a group stay on the chip.
"""

import functools
from typing import NamedTuple

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp

from jaxseq.kernels.outer import _products
from jaxseq.kernels.outer import _tpu_call
from jaxseq.recurrence.platform import support

dot = _products.dot
keep = _products.keep

_LANES = 128


class Plan(NamedTuple):
  """Static sizes and options of a call."""

  groups: int  # groups of one program
  heads: int  # heads of each group, in one program
  keys: int  # K
  values: int  # V
  chunk: int  # C
  decay: bool  # whether there are decays
  reset: bool  # whether there are resets
  exact: bool  # whether decay sums keep more digits than products
  form: support.Form  # form of the kernel


class Facts(NamedTuple):
  """First rows of each kind in `facts`; a row has one number per element."""

  sums: int  # sums of the decays, a row for each head
  rest: int  # low-order parts of the sums, if they are exact
  bad: int  # 1 where the decay is undefined, so that no state survives
  episode: int  # number of resets up to the element, in eight equal rows
  rows: int  # F, a multiple of 8

  @classmethod
  def of(cls, plan: Plan) -> "Facts":
    """Returns the first rows of a plan's facts."""
    heads = plan.groups * plan.heads if plan.decay else 0
    bad = 2 * heads if plan.exact else heads
    episode = bad + heads if plan.reset else bad
    episode += -episode % 8
    return cls(0, heads, bad, episode, episode + 8 * plan.reset)


class Given(NamedTuple):
  """Facts and masks that all heads of a chunk share."""

  facts: jax.Array | None
  columns: jax.Array | None  # `facts`, transposed.
  masks: _products.Masks


class Tile(NamedTuple):
  """Heads whose values are adjacent in the lanes of a register."""

  keys: slice  # Keys of their group.
  values: slice
  heads: range  # Rows of `facts`.


class Factors(NamedTuple):
  """Decay factors of the heads of a tile."""

  pairs: list[jax.Array]  # Decays between the elements of each head, [C, C].
  enter: jax.Array  # [C, W], from the state before the chunk.
  leave: jax.Array  # [C, W], to the state after it.
  through: jax.Array  # [1, W], from the state before to the state after.


def given_of(plan, facts_ref):
  """Returns facts and masks of all heads from a facts reference or None."""
  if facts_ref is None:
    return Given(None, None, _products.Masks.of(plan.chunk, None))
  facts, at = facts_ref[...], Facts.of(plan).episode
  episode = facts[at : at + 8] if plan.reset else None
  masks = _products.Masks.of(plan.chunk, episode)
  return Given(facts, facts.T, masks)


def tiles(plan, group):
  """Yields the tiles of one group."""
  together = max(1, _LANES // plan.values)
  keys = slice(group * plan.keys, (group + 1) * plan.keys)
  end = (group + 1) * plan.heads
  for first in range(end - plan.heads, end, together):
    heads = range(first, min(first + together, end))
    values = slice(heads.start * plan.values, heads.stop * plan.values)
    yield Tile(keys, values, heads)


def factors(plan, shared, tile):
  """Returns the decay factors of a tile."""
  masks, at = shared.masks, Facts.of(plan)
  C, W = plan.chunk, len(tile.heads) * plan.values
  if not plan.decay:
    pairs = [jnp.where(masks.pairs, 1.0, 0.0)] * len(tile.heads)
    return Factors(
      pairs,
      *(
        keep(mask, jnp.ones((size, W), jnp.float32))
        for mask, size in zip(masks[1:], (C, C, 1))
      ),
    )

  def of(first):
    """Returns rows and columns of the heads, and tile-wide columns."""
    rows = [shared.facts[first + h : first + h + 1] for h in tile.heads]
    columns = [shared.columns[:, first + h : first + h + 1] for h in tile.heads]
    return rows, columns, _products.beside(columns, plan.values)

  rows, columns, wide = of(at.sums)
  between = [column - row for column, row in zip(columns, rows)]
  last = wide[C - 1 :]
  after, before = last - wide, wide
  if plan.exact:
    rows, columns, wide = of(at.rest)
    between = [
      high + (column - row) for high, column, row in zip(between, columns, rows)
    ]
    rest = wide[C - 1 :]
    after, before, last = after + (rest - wide), before + wide, last + rest
  return Factors(
    [masks.within(x) for x in between],
    keep(masks.enter, jnp.exp(before)),
    keep(masks.leave, jnp.exp(after)),
    keep(masks.through, jnp.exp(last)),
  )


def ruined(plan, shared, tile, q, k, v, state):
  """Flags a tile's undefined results: outputs, and columns of the state."""
  before = jnp.max(_products.broken(state), 0, keepdims=True)
  bad = None
  if plan.decay:
    first = Facts.of(plan).bad
    columns = [shared.columns[:, first + h : first + h + 1] for h in tile.heads]
    bad = _products.beside(columns, plan.values)
  both = _products.ruined(shared.masks, q, k, v, before, bad)
  return [part > 0 for part in both]


def bad_decays(plan, shared):
  """Returns rows that are infinite where a decay is undefined."""
  if not plan.decay:
    return []
  first = Facts.of(plan).bad
  bad = shared.facts[first : first + plan.groups * plan.heads]
  return [jnp.where(bad > 0, jnp.inf, 0.0)]


def _forward_kernel(plan, keeps, *refs):
  """Computes one chunk; `final` carries the states."""
  q_ref, k_ref, v_ref, *refs = refs
  facts_ref = refs.pop(0) if plan.decay or plan.reset else None
  init_ref, o_ref, final_ref, *entering_ref = refs
  block = pl.program_id(3)

  @pl.when(pl.program_id(2) == 0)
  def _():
    final_ref[block] = init_ref[block]

  if keeps:
    entering_ref[0][...] = final_ref[block].astype(entering_ref[0].dtype)
  shared = given_of(plan, facts_ref)

  def attempt(careful):
    results, worth = [], bad_decays(plan, shared) if plan.reset else []
    for group in range(plan.groups):
      gram = None
      for tile in tiles(plan, group):
        x = q_ref[:, tile.keys], k_ref[:, tile.keys], v_ref[:, tile.values]
        x = *x, final_ref[block, :, tile.values]
        if careful:
          bad = ruined(plan, shared, tile, *x)
          x = map(_products.clean, x)
        q, k, v, state = x
        gram = dot(q, k, 1, 1) if gram is None else gram
        by = factors(plan, shared, tile)
        parts = [dot((gram * x).astype(v.dtype), v, 1, 0) for x in by.pairs]
        o = _products.beside(parts, plan.values)
        o += by.enter * dot(q, state.astype(q.dtype), 1, 0)
        v = (by.leave * v.astype(jnp.float32)).astype(v.dtype)
        state = by.through * state + dot(k, v, 0, 0)
        if careful:
          o, state = (
            jnp.where(undefined, jnp.nan, y)
            for undefined, y in zip(bad, (o, state))
          )
        worth += [o, state]
        results.append((tile.values, o.astype(o_ref.dtype), state))
    return results, worth

  def store(results):
    for values, o, state in results:
      o_ref[:, values] = o
      final_ref[block, :, values] = state

  _tpu_call.store_defined(plan.reset, attempt, store)


class Blocks(NamedTuple):
  """Arrays of a call; a program uses W columns of v."""

  q: jax.Array  # [rows, time, groups * K]
  k: jax.Array  # [rows, time, groups * K]
  v: jax.Array  # [rows, time, heads * V]
  # [rows, blocks of groups, blocks of heads, chunks, F, C], see `Facts`; states
  # are [rows, blocks of groups, blocks of heads, K, W].
  facts: jax.Array | None


def forward(
  plan: Plan, x: Blocks, init: jax.Array, keeps: bool
) -> tuple[jax.Array, ...]:
  """Returns outputs like v, last state, and entering states if requested."""
  specs, grid = block_specs(plan, x, init, reverse=False)
  states = jax.ShapeDtypeStruct(
    (init.shape[0], init.shape[1], grid[2], *init.shape[2:]), x.v.dtype
  )
  shapes = [
    jax.ShapeDtypeStruct(x.v.shape, x.v.dtype),
    jax.ShapeDtypeStruct(init.shape, jnp.float32),
    *([states] if keeps else []),
  ]
  facts = [] if x.facts is None else [specs["facts"]]
  return _tpu_call.call(
    "outer_forward",
    plan.form,
    functools.partial(_forward_kernel, plan, keeps),
    grid,
    [specs["q"], specs["q"], specs["v"], *facts, specs["state"]],
    [specs["v"], specs["state"], *([specs["entering"]] if keeps else [])],
    shapes,
    [],
    [leaf for leaf in (*x, init) if leaf is not None],
  )


def block_specs(plan, x, state, reverse):
  """Returns the blocks of all arrays by name, and the grid."""
  rows, time, _ = x.q.shape
  _, groups, blocks, K, W = state.shape
  C = plan.chunk
  chunks = time // C

  def at(chunk):
    return chunks - 1 - chunk if reverse else chunk

  def of(shape, index):
    return pl.BlockSpec(shape, lambda n, g, c, h: index(n, g, at(c), h))

  height = Facts.of(plan).rows
  per_chunk = (None, None, None, None)
  specs = {
    "q": of((None, C, plan.groups * K), lambda n, g, c, h: (n, c, g)),
    "v": of((None, C, W), lambda n, g, c, h: (n, c, g * blocks + h)),
    "facts": of((*per_chunk, height, C), lambda n, g, c, h: (n, g, h, c, 0, 0)),
    "d_facts": of(
      (*per_chunk, eights(plan.groups * plan.heads), C),
      lambda n, g, c, h: (n, g, h, c, 0, 0),
    ),
    "state": of((None, None, blocks, K, W), lambda n, g, c, h: (n, g, 0, 0, 0)),
    "entering": of((*per_chunk, K, W), lambda n, g, c, h: (n, g, c, h, 0, 0)),
  }
  return specs, (rows, groups, chunks, blocks)


def eights(count):
  """Rounds up to a multiple of eight."""
  return count + -count % 8
