"""Windowed attention on a TPU by JAX's splash attention."""

import math

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as splash,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)
import jax.numpy as jnp

from jaxseq.kernels import _calls

_LANES = 128
# Queries and keys of a block: keys beyond the window are skipped by blocks, and
# keys in it are read again for each block of queries.
_BLOCK = 512


@_calls.in_32_bits
def attend(
  interpret: bool,
  differentiated: bool,
  window: int,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  start: jax.Array,
) -> jax.Array:
  """Computes averages like q, with the chip's usual rounding of products."""
  del differentiated
  time, heads = q.shape[1:3]
  earlier = k.shape[1] - time
  wide = jnp.promote_types(q.dtype, jnp.float32)
  q = (q.astype(wide) / math.sqrt(q.shape[3])).astype(q.dtype)
  # Two elements are in one episode if their episodes begin at the same key.
  before = jnp.arange(earlier) >= start[:, :1]
  before = jnp.where(before, start[:, :1], -1)
  block = min(_BLOCK, -(-time // _LANES) * _LANES)
  # Padding after the last query is an episode of its own.
  q, start = _calls.padded(q, 1, block), _calls.padded(start, 1, block, -2)
  keys = earlier + start.shape[1]
  missing = keys - k.shape[1]
  k, v = (jnp.pad(x, _behind(missing, x)) for x in (k, v))
  episodes = jnp.concatenate([before, start], axis=1)
  k, v = (_calls.padded(x, 1, block) for x in (k, v))
  episodes = _calls.padded(episodes, 1, block, -2)

  shape = q.shape[1], k.shape[1]
  mask = masks.LocalMask(shape, (window, 0), earlier)
  kernel = splash.make_splash_mha_single_device(
    masks.MultiHeadMask([mask] * heads),
    # Time is the last axis of keys and values: heads are narrower than lanes,
    # and would be padded in memory.
    block_sizes=splash.BlockSizes(
      *(block,) * 8,
      k_layout=splash.QKVLayout.SEQ_MINOR,
      v_layout=splash.QKVLayout.SEQ_MINOR,
    ),
    interpret=interpret,
  )
  by_head = (x.swapaxes(1, 2) for x in (q, k, v))
  o = jax.vmap(kernel)(*by_head, splash.SegmentIds(start, episodes))
  return o.swapaxes(1, 2)[:, :time]


def _behind(missing, x):
  """Returns widths that pad the end of the second axis."""
  return ((0, 0), (0, missing)) + ((0, 0),) * (x.ndim - 2)
