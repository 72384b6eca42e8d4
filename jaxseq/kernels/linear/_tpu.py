"""Diagonal linear recurrences on TPUs, eight elements at a time.

Three shifted steps compose the maps of the elements in a register of 8 elements
of 128 channels; the state of the previous register is applied to all at once.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _tpu
from jaxseq.kernels.linear import _parts

LANES, ROWS = 128, 8
Parts = _parts.Parts
Walk = _parts.Walk
_add, _times, _select = (
  _parts.add,
  _parts.times,
  _parts.select,
)


def states(walk: Walk, a: Parts, b: Parts, init: Parts, keep) -> Parts:
  """Returns the states h of h_t = a_t h_{t-1} + b_t."""

  def step(x, carry):
    h = x.applied(x.a, x.b, carry)
    return x.last(h), h

  return _along_time(step, walk, a, b, (), init, (), keep, len(b))[: len(b)]


def gradient(
  walk: Walk, a: Parts, g: Parts, h: Parts, g_final: Parts, init: Parts, keep
) -> tuple[Parts, Parts, Parts]:
  """Returns the cotangents of decays, and the adjoint states lam and mu."""
  count, fixed = len(g), a[0].shape[1] == 1

  def step(x, carry):
    a, mu_after = _parts.conj(x.a), carry[:count]
    mu = x.applied(a, _select(x.alive, _times(a, x.b), 0.0), mu_after)
    lam = _add(x.b, x.shifted(mu, mu_after))
    da = _select(x.alive, _times(lam, _parts.conj(x.h)), 0.0)
    if fixed:
      return x.last(mu) + _add(carry[count:], da), lam
    return x.last(mu), da + lam

  carry = g_final + (tuple(map(jnp.zeros_like, g_final)) if fixed else ())
  moving = count if fixed else 2 * count
  out = _along_time(step, walk, a, g, h, carry, init, keep, moving)
  along, last = out[:moving], out[moving:]
  mu = tuple(part[:, 0] for part in last[:count])
  if fixed:
    return tuple(jnp.sum(part, axis=1) for part in last[count:]), along, mu
  return along[:count], along[count:], mu


class _Chain(NamedTuple):
  """Flags of eight elements, and their reach to earlier elements."""

  # whether the elements are consumed from the last to the first
  backwards: bool
  # [8, 128] float32, 0 at resets, or None
  alive: jax.Array | None
  # for shifts by 1, 2 and 4, float32 above 0 if the elements before reach this
  # one
  passing: tuple[jax.Array, ...]
  # 0 if there is a reset at one of the elements up to this one, or None
  through: jax.Array | None


class _Eight(NamedTuple):
  """Arrays of a step: 8 elements of 128 channels, by parts."""

  chain: _Chain  # flags
  a: Parts  # decays
  b: Parts  # inputs, or cotangents
  h: Parts  # the states before each element

  @property
  def alive(self):
    return self.chain.alive

  def applied(self, a, b, carry):
    """Applies the affine maps (a, b) in turn to the carry [8, 128]."""
    for shift, passing in zip((1, 2, 4), self.chain.passing):
      earlier = _inside(shift, self.chain.backwards)
      a_before, b_before = (self._rolled(x, shift) for x in (a, b))
      b = _add(b, _select(passing, _times(a, b_before), 0.0))
      a = _select(earlier, _times(a, a_before), a)
    return _add(b, _select(self.chain.through, _times(a, carry), 0.0))

  def shifted(self, x, carry):
    """Returns the element consumed before each: the carry for the first."""
    inside = _inside(1, self.chain.backwards)
    return _select(inside, self._rolled(x, 1), carry)

  def last(self, x):
    """Returns the element consumed last, broadcast to all eight."""
    row = 0 if self.chain.backwards else ROWS - 1
    return tuple(
      jnp.broadcast_to(part[row : row + 1], (ROWS, LANES)) for part in x
    )

  def _rolled(self, x, shift):
    shift = ROWS - shift if self.chain.backwards else shift
    return tuple(pltpu.roll(part, shift, 0) for part in x)


def _inside(shift, backwards):
  """Returns 1 if the element `shift` before is among the eight, else 0."""
  row = lax.broadcasted_iota(jnp.int32, (ROWS, LANES), 0)
  inside = row < ROWS - shift if backwards else row >= shift
  return inside.astype(jnp.float32)


def _chain(alive, backwards):
  """Returns the `_Chain` of eight flags."""
  inside = [_inside(shift, backwards) for shift in (1, 2, 4)]
  if alive is None:
    return _Chain(backwards, None, tuple(inside), None)
  passing, through = [], alive
  for shift, mask in zip((1, 2, 4), inside):
    passing.append(mask * through)
    before = pltpu.roll(through, ROWS - shift if backwards else shift, 0)
    through = jnp.where(mask > 0, through * before, through)
  return _Chain(backwards, alive, tuple(passing), through)


@_calls.in_32_bits
def _along_time(step, walk, a, b, h, carry, init, keep, outputs):
  """Folds `step(eight, carry) -> carry, outputs` over time."""
  rows, time, n = b[0].shape
  tile, fixed = walk.tile, a[0].shape[1] == 1
  blocks, eights = time // tile, tile // ROWS
  width = next(w for w in (512, 384, 256, 128) if n % w == 0)
  groups = width // LANES
  # The adjoint of a recurrence runs the other way.
  backwards = walk.reverse != bool(h)
  along, still = (*(() if fixed else a), *b), (a if fixed else ())
  flags = () if keep is None else (keep[:, None].astype(jnp.float32),)
  carry, init = (tuple(x[:, None] for x in each) for each in (carry, init))
  edges = h
  inputs = (along, h, edges, flags, still, carry, init)
  counts = [len(group) for group in inputs] + [outputs, len(carry), len(carry)]

  def place(k):
    return blocks - 1 - k if backwards else k

  def spec(x, length, index):
    def block(r, c, k):
      return (r if x.shape[0] > 1 else 0), index(k), c

    return pl.BlockSpec((None, length, width), block)

  def edge(k):
    # The eight elements before or after a block, but within the array.
    if walk.reverse:
      return jnp.minimum((place(k) + 1) * eights, time // ROWS - 1)
    return jnp.maximum(place(k) * eights - 1, 0)

  def body(*refs):
    refs = iter(refs)
    (
      along_refs,
      h_refs,
      edge_refs,
      flag_refs,
      still_refs,
      carry_refs,
      init_refs,
      out_refs,
      last_refs,
      scratch_refs,
    ) = ([next(refs) for _ in range(count)] for count in counts)
    alive_refs = list(refs)
    k = pl.program_id(2)

    @pl.when(k == 0)
    def _():
      for ref, x in zip(scratch_refs, carry_refs):
        ref[...] = jnp.broadcast_to(x[...], (ROWS, width))

    for ref, x in zip(alive_refs, flag_refs):
      # Transposes time from lanes to rows.
      for start in range(0, tile, LANES):
        flag = jnp.broadcast_to(x[:, start : start + LANES], (LANES, LANES))
        ref[start : start + LANES] = flag.T

    def before(i, columns):
      """Returns the states before each of eight elements."""
      last = eights - 1 if walk.reverse else 0
      near = jnp.clip(i + (1 if walk.reverse else -1), 0, eights - 1)
      inside = _inside(1, walk.reverse)
      start = time - 1 if walk.reverse else 0
      t = place(k) * tile + i * ROWS
      t += lax.broadcasted_iota(jnp.int32, (ROWS, LANES), 0)
      shift = ROWS - 1 if walk.reverse else 1
      shifted = []
      for ref, edge_ref, first in zip(h_refs, edge_refs, init_refs):
        tile_rows = ref[pl.ds(i * ROWS, ROWS), columns]
        other = ref[pl.ds(near * ROWS, ROWS), columns]
        other = jnp.where(i == last, edge_ref[:, columns], other)
        tile_rows, other = (pltpu.roll(x, shift, 0) for x in (tile_rows, other))
        x = jnp.where(inside > 0, tile_rows, other)
        shifted.append(jnp.where(t == start, first[:, columns], x))
      return tuple(shifted)

    def eight(i, carry):
      i = eights - 1 - i if backwards else i
      at = pl.ds(i * ROWS, ROWS)
      alive = alive_refs[0][at, :] if flags else None
      chain, after = _chain(alive, backwards), []
      for group, tile_rows in enumerate(carry):
        columns = slice(group * LANES, (group + 1) * LANES)
        current = tuple(ref[at, columns] for ref in along_refs)
        a_now = current[: len(a)]
        if fixed:
          a_now = tuple(
            jnp.broadcast_to(ref[:, columns], (ROWS, LANES))
            for ref in still_refs
          )
        h_now = before(i, columns) if h else ()
        x = _Eight(chain, a_now, current[-len(b) :], h_now)
        tile_rows, results = step(x, tile_rows)
        after.append(tile_rows)
        for ref, result in zip(out_refs, results):
          ref[at, columns] = result
      return tuple(after)

    carry_now = tuple(
      tuple(ref[:, group * LANES : (group + 1) * LANES] for ref in scratch_refs)
      for group in range(groups)
    )
    last = lax.fori_loop(0, eights, eight, carry_now)
    for group, tile_rows in enumerate(last):
      columns = slice(group * LANES, (group + 1) * LANES)
      for ref, out, x in zip(scratch_refs, last_refs, tile_rows):
        ref[:, columns] = x
        out[:, columns] = x

  def state_spec(x, length=1):
    return spec(x, length, lambda k: 0)

  specs = [spec(x, tile, place) for x in (*along, *h)]
  specs += [spec(x, ROWS, edge) for x in edges]
  specs += [
    pl.BlockSpec((None, 1, tile), lambda r, c, k: (r, 0, place(k)))
    for _ in flags
  ]
  specs += [state_spec(x) for x in (*still, *carry, *init)]
  float32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
  shapes = [float32(b[0].shape)] * outputs
  shapes += [float32((rows, ROWS, n)) for _ in carry]
  out_specs = [spec(b[0], tile, place)] * outputs
  out_specs += [state_spec(b[0], ROWS) for _ in carry]
  scratch = [pltpu.VMEM((ROWS, width), jnp.float32) for _ in carry]
  scratch += [pltpu.VMEM((tile, LANES), jnp.float32) for _ in flags]
  results = _tpu.call(
    "linear_adjoint" if h else "linear_recurrence",
    walk.form,
    body,
    (rows, n // width, blocks),
    *(specs, out_specs, shapes, scratch),
    [x for group in inputs for x in group],
    like=b[0],
  )
  return tuple(results)
