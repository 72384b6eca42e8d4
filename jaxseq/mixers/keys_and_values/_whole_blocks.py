"""Attention to all of an element's own block, and to the blocks before."""

import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers.keys_and_values import _tree_bias


def check(config, blocks, x, reset, axis, mask):
  """Checks the sizes of blocks, and that no other option excludes them."""
  sizes = tuple(map(int, blocks))
  time = x.shape[-2]
  if min(sizes, default=0) < 1 or sum(sizes) != time:
    expected = f"sizes of at least 1 that add up to {time}, the elements of x"
    raise contract.error("blocks", blocks, expected)
  positions = config.positions
  for name, value, fits, expected in (
    ("bidirectional", config.bidirectional, not config.bidirectional, "False"),
    ("select", config.select, config.select == "all", "'all'"),
    ("positions", positions, positions != "relative", "'rotary' or 'none'"),
    ("forget_gate", config.forget_gate, config.forget_gate == "none", "'none'"),
    ("reset", "some", reset is None, "None"),
    ("axis", axis, axis is None, "None"),
    ("mask", "some", mask is None, "None"),
  ):
    if not fits:
      raise contract.error(name, value, f"{expected} with blocks")
  return sizes


def attend(q, k, v, window, init, *, sizes, embed, **unused):
  """Lets elements attend to their block, and to `window` elements before them.

  Args:
    q: (*batch, time, heads, d).
    k: (*batch, time, groups, d).
    v: like k, values.
    window: as in `recurrence.window_attention`.
    init: as in `recurrence.window_attention`.
    sizes: sizes of the blocks.
    embed: as in `recurrence.window_attention`.
    **unused: further options of that function, which are not set.

  Returns:
    Averages of q's shape, and the state after the last element.
  """
  del unused  # They are not supported here.
  *batch, time = q.shape[:-2]
  length = jnp.zeros(batch, jnp.promote_types(k.dtype, jnp.float32))
  if init is None:
    # An empty cache, which takes no memory.
    blank = jnp.zeros((*batch, 0, *k.shape[-2:]), k.dtype)
    init = recurrence.WindowState(blank, blank, length)
  front = init.keys.shape[-3]
  ends = np.repeat(np.cumsum(sizes), sizes)
  place = np.arange(-front, time)
  away = np.arange(time)[:, None] - place
  seen = jnp.asarray((place < ends[:, None]) & (away <= window))
  keys, values = (
    jnp.concatenate([cache.astype(x.dtype), x], axis=-3)
    for cache, x in ((init.keys, k), (init.values, v))
  )
  # Places of the cache that hold elements.
  held = place >= -init.length[..., None]
  bias = jnp.where(seen & held[..., None, :], 0.0, -jnp.inf)[..., None, :, :]
  if embed is None:
    turned = q, keys
  else:
    index = jnp.arange(front + time)
    turned = embed(q, index[front:]), embed(keys, index)
  by_head = (jnp.moveaxis(z, -2, -3) for z in (*turned, values))
  o = jnp.moveaxis(_tree_bias.attend(*by_head, bias, None), -3, -2)
  length = init.length.astype(length.dtype) + time
  missing = max(window - front - time, 0)
  pad = [(0, 0)] * len(batch) + [(missing, 0), (0, 0), (0, 0)]
  begin = missing + front + time - window
  keys, values = (jnp.pad(x, pad)[..., begin:, :, :] for x in (keys, values))
  return o, recurrence.WindowState(keys, values, length)
