"""Decays and weights of running softmax averages on Hopper, and their gradient.

A thread runs along time with its channel's largest logit and sum of weights.
Because o_t = q_t W_t / Delta_t, the cotangent of log(Delta_t) is -q_t dq_t: the
backward pass needs no cotangent of a decay.
"""

from collections.abc import Callable
import math
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.platform import support

CHANNELS = 128
TILE = 32
# Elements of a loop's body, whose exponentials do not wait for each other.
_STEPS = 8
# Shared memory for tiles in flight: two blocks fit a multiprocessor.
_MEMORY = 104 * 1024
_VECTOR = plgpu.Layout.WG_STRIDED((CHANNELS,), vec_size=1)
# Below this, 1 - x has lost digits of x that a logarithm needs.
_SMALL = 1 / 16
_NEG = _softmax_state.NEG

Vectors = tuple[jax.Array, ...]


class Plan(NamedTuple):
  """Static options of a call."""

  # logits, a [rows, time, n]; q, k [rows, time, copies * n], channel d has the
  # logit d modulo n; keep [rows, time] int32, 0 at resets.
  copies: int  # channels of q and k per logit
  sink: float | None  # see `softmax_outer_scan`
  form: support.Form  # form of the kernel


@_calls.in_32_bits
def forward(
  plan: Plan,
  logits: jax.Array,
  k: jax.Array | None,
  keep: jax.Array | None,
  m: jax.Array,
  u: jax.Array,
  dtype: jnp.dtype,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Returns log-decays, keys times shares, and the last m and u."""
  begin = (_NEG, 0.0) if plan.sink is None else (plan.sink, 1.0)

  def step(arrays, alive, carry):
    (g,), *keys = arrays
    m, u = carry
    if alive is not None:
      m, u = (jnp.where(alive, x, y) for x, y in zip(carry, begin))
    g = jnp.where(g < jnp.inf, jnp.maximum(g, _NEG), jnp.nan)
    larger = g > m
    less = jnp.exp2(-math.log2(math.e) * jnp.abs(g - m))
    before = jnp.where(larger, u * less, u)
    weight = jnp.where(larger, 1.0, less)
    weight = jnp.where(g <= _NEG, 0.0, weight)
    m, u = jnp.where(larger, g, m), before + weight
    inverse = 1.0 / jnp.where(u == 0, 1.0, u)
    share = weight * inverse
    a = jnp.where(
      share < _SMALL, _log_of_rest(share), jnp.log(before * inverse)
    )
    keys = keys[0] if keys else (1.0,) * plan.copies
    return (m, u), ((a,), tuple(share * x for x in keys))

  streamed = [logits] if k is None else [logits, k]
  outs = [(1, dtype), (plan.copies, dtype)]
  (a, k), (m, u) = _walk(
    plan, "softmax_decay", step, streamed, keep, (m, u), outs, False
  )
  return a, k, m, u


@_calls.in_32_bits
def backward(
  plan: Plan,
  q: jax.Array,
  dq: jax.Array,
  k: jax.Array | None,
  d_shared: jax.Array,
  a: jax.Array,
  keep: jax.Array | None,
  d_last: jax.Array,
  dtype: jnp.dtype,
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
  """Returns cotangents of logits, k, and log(Delta) before the first one."""

  def step(arrays, alive, carry):
    def clean(x):
      # Undefined inputs may have been forgotten.
      return x if alive is None else jnp.where(jnp.abs(x) < jnp.inf, x, 0.0)

    (a,), q, dq, d_shared, *keys = arrays
    if alive is not None:
      a = jnp.where(a < jnp.inf, a, -jnp.inf)
    (after,) = carry
    d_log = after - sum(clean(x) * y for x, y in zip(q, dq))
    decay = jnp.exp2(math.log2(math.e) * a)
    share = jnp.where(a > -_SMALL, _less_than_one(a), 1.0 - decay)
    keys = [clean(x) for x in keys[0]] if keys else [1.0] * plan.copies
    d_logit = share * (sum(x * y for x, y in zip(keys, d_shared)) + d_log)
    before = decay * d_log
    if alive is not None:
      before = jnp.where(alive, before, 0.0)
    d_k = tuple(share * x for x in d_shared)
    return (before,), ((d_logit,), *((d_k,) if k is not None else ()))

  streamed, outs = [a, q, dq, d_shared], [(1, dtype)]
  if k is not None:
    streamed, outs = [*streamed, k], [*outs, (plan.copies, k.dtype)]
  (d_logits, *dk), (d_first,) = _walk(
    plan, "softmax_decay_adjoint", step, streamed, keep, (d_last,), outs, True
  )
  return d_logits, dk[0] if dk else None, d_first


def _log_of_rest(x):
  """Returns log(1 - x) for x below `_SMALL`, to a relative 1e-6."""
  return -x * (1 + x * (1 / 2 + x * (1 / 3 + x * (1 / 4 + x / 5))))


def _less_than_one(a):
  """Returns 1 - exp(a) for a above -`_SMALL`, to a relative 1e-7."""
  return -a * (1 + a * (1 / 2 + a * (1 / 6 + a / 24)))


def _walk(
  plan: Plan,
  name: str,
  step: Callable,
  streamed: list[jax.Array],
  keep: jax.Array | None,
  carry: Vectors,
  outs: list[tuple[int, jnp.dtype]],
  reverse: bool,
) -> tuple[tuple[jax.Array, ...], Vectors]:
  """Folds `step(given, alive, carry) -> carry, results` over time."""
  rows, time, _ = streamed[0].shape
  n, tiles = carry[0].shape[1], time // TILE
  flags = () if keep is None else (keep,)
  copies = [x.shape[2] // n for x in streamed]
  views = [(i, j) for i, count in enumerate(copies) for j in range(count)]
  size = sum(TILE * CHANNELS * streamed[i].dtype.itemsize for i, _ in views)
  stages = min(tiles, max(2, min(4, _MEMORY // size)))

  def body(*refs, places, flag_tiles, ready):
    refs = iter(refs)
    counts = len(streamed), len(flags), len(carry), len(outs), len(carry)
    streamed_refs, flag_refs, carry_refs, out_refs, last_refs = (
      [next(refs) for _ in range(count)] for count in counts
    )
    row, column = lax.axis_index("row"), lax.axis_index("column")

    def channels(copy):
      return pl.ds(copy * n + column * CHANNELS, CHANNELS)

    def tile_of(index):
      return tiles - 1 - index if reverse else index

    def fetch(index):
      slot = lax.rem(index, stages)
      times = pl.ds(tile_of(index) * TILE, TILE)
      parts = [
        (streamed_refs[i].at[row, times, channels(j)], place)
        for (i, j), place in zip(views, places)
      ]
      parts += [
        (ref.at[row, times], x) for ref, x in zip(flag_refs, flag_tiles)
      ]
      pairs = ((source, target.at[slot]) for source, target in parts)
      _hopper.fetch(pairs, ready.at[slot])

    def given(slot, t):
      vectors = iter(_vector(x.at[slot, t]) for x in places)
      return [tuple(next(vectors) for _ in range(count)) for count in copies]

    def alive(slot, t):
      if not flags:
        return None
      return jnp.broadcast_to(flag_tiles[0][slot, t], (CHANNELS,)) > 0

    def one_tile(index, carry):
      slot = lax.rem(index, stages)
      plgpu.barrier_wait(ready.at[slot])

      def steps(i, carry):
        times = [i * _STEPS + j for j in range(_STEPS)]
        times = [TILE - 1 - t for t in times] if reverse else times
        # Loads come before all stores, because the compiler does not reorder
        # them.
        elements = [(given(slot, t), alive(slot, t)) for t in times]
        walked = []
        for element in elements:
          carry, results = step(*element, carry)
          walked.append(results)
        for t, results in zip(times, walked):
          for ref, (_, dtype), result in zip(out_refs, outs, results):
            for j, x in enumerate(result):
              place = row, tile_of(index) * TILE + t, channels(j)
              ref[place] = x.astype(dtype)
        return carry

      carry = lax.fori_loop(0, TILE // _STEPS, steps, carry)
      # All threads have read the tile.
      plgpu.commit_smem()
      pl.when(index + stages < tiles)(lambda: fetch(index + stages))
      return carry

    for index in range(stages):
      fetch(jnp.int32(index))
    # The product has the type of the loop's results inside `jax.shard_map`.
    start = tuple(
      plgpu.load(ref.at[row, channels(0)], layout=_VECTOR, optimized=False)
      * 1.0
      for ref in carry_refs
    )
    last = lax.fori_loop(0, tiles, one_tile, start)
    for ref, x in zip(last_refs, last):
      ref[row, channels(0)] = x

  shapes = [
    jax.ShapeDtypeStruct((rows, time, count * n), dtype)
    for count, dtype in outs
  ]
  shapes += [_hopper.float32((rows, n)) for _ in carry]
  block = (stages, TILE, CHANNELS)
  walked = _hopper.call(
    name,
    plan.form,
    body,
    {"row": rows, "column": n // CHANNELS},
    shapes,
    {
      "places": [plgpu.SMEM(block, streamed[i].dtype) for i, _ in views],
      "flag_tiles": [plgpu.SMEM((stages, TILE), jnp.int32) for _ in flags],
      "ready": plgpu.Barrier(
        num_arrivals=len(views) + len(flags), num_barriers=stages
      ),
    },
    (*streamed, *flags, *carry),
    streamed[0],
    # Threads share only tiles, whose barriers are above.
    unsafe_no_auto_barriers=True,
    **_hopper.APPROXIMATE,
  )
  return walked[: len(outs)], walked[len(outs) :]


def _vector(ref):
  """Loads one float32 number per thread."""
  x = plgpu.load(ref, layout=_VECTOR, optimized=False)
  return x.astype(jnp.float32)
