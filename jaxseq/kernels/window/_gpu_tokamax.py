"""Windowed attention on a GPU by tokamax.

Its backward pass reads all keys: for a gradient, time is split into segments,
each with the keys of the window before it.
"""

import jax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.recurrence.platform import support

# Minimum of queries per segment: the keys before a segment are read twice.
_SEGMENT = 512


def attend(
  interpret: bool,
  differentiated: bool,
  window: int,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  start: jax.Array,
) -> jax.Array:
  """Computes 16-bit averages like q."""
  try:
    from tokamax._src.ops.attention import base
    from tokamax._src.ops.attention import pallas_mosaic_gpu
  except ImportError as reason:
    expected = "tokamax: pip install 'jaxseq[tokamax]'"
    sentence = support.sentence("window", f"{reason}", expected, "tokamax")
    raise NotImplementedError(sentence) from reason

  rows, time = start.shape
  earlier = k.shape[1] - time
  size = min(time, max(_SEGMENT, window)) if differentiated else time
  count = -(-time // size)
  before = min(window, earlier + (count - 1) * size)
  place = earlier + jnp.arange(time)
  start = jnp.maximum(start, place - window)
  # Padding queries after the last one see themselves.
  missing = count * size - time
  behind = earlier + time + jnp.arange(missing)
  start = jnp.concatenate(
    [start, jnp.broadcast_to(behind, (rows, missing))], axis=1
  )
  # Indices are now relative to the segment's keys.
  first = earlier - before + size * jnp.arange(count)
  start = start.reshape(rows, count, size) - first[:, None]
  q = _calls.padded(q, 1, size).reshape(rows, count, size, *q.shape[2:])
  k, v = (_segments(x, earlier, before, size, count) for x in (k, v))

  one = rows * count
  mask = base.Mask(
    causal_mask=base.CausalMask(offset=before),
    k_start=start.reshape(one, 1, size).astype(jnp.int32),
  )
  run = pallas_mosaic_gpu.PallasMosaicGpuFlashAttention()
  if interpret:
    run = base.DotProductAttention()
  o = run(*(x.reshape(one, *x.shape[2:]) for x in (q, k, v)), mask=mask)
  return o.reshape(rows, count * size, *o.shape[2:])[:, :time]


def _segments(x, earlier, before, size, count):
  """Converts [R, earlier + T, ...] to [R, count, before + size, ...]."""
  front = before - earlier
  x = x[:, max(0, -front) :]
  back = before + count * size - x.shape[1] - max(0, front)
  widths = ((0, 0), (max(0, front), back)) + ((0, 0),) * (x.ndim - 2)
  x = jnp.pad(x, widths)
  if count == 1:
    return x[:, None]
  blocks = x[:, before:].reshape(x.shape[0], count, size, *x.shape[2:])
  # No window is longer than a segment here.
  tails = x[:, : count * size].reshape(blocks.shape)[:, :, :before]
  return jnp.concatenate([tails, blocks], axis=2)
