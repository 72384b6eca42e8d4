"""Windowed attention on one device, and with time split over several.

Each function here takes queries (*batch, time, heads, D), keys and values
(*batch, time, kv_heads, D) without positions, a state or None, and resets or
None; it returns the averages like the queries, and keys and values of the new
state: at most `window` of them, with zeros where the episode has none.
"""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import recurrence
from jaxseq.mixers import positions
from jaxseq.recurrence import exact_attention
from jaxseq.recurrence._sharded import collectives
from jaxseq.recurrence._sharded import halo
from jaxseq.recurrence._sharded import prefix
from jaxseq.recurrence._sharded.attention_schemes import blocks

Outputs = tuple[jax.Array, jax.Array, jax.Array]

SCHEMES = ("halo", *exact_attention.SCHEMES)


def local(config: Any, q, k, v, state, reset) -> Outputs:
  """All of time on one device."""
  if state is None:
    begin = jnp.zeros(q.shape[:-3], jnp.int32)
    return _attend(config, q, k, v, begin, reset)
  k, v = _behind_cache(k, v, state)
  return _attend(config, q, k, v, _begin(config, state), reset)


def split(
  config: Any, q, k, v, state, reset, axis: str, scheme: str
) -> Outputs:
  """Time is split over the devices of a mesh axis."""
  if scheme == "halo":
    return _with_halo(config, q, k, v, state, reset, axis)
  return _by_scheme(config, q, k, v, state, reset, axis, scheme)


def last_reset(
  reset: jax.Array | None, time: int, axis: str | None
) -> jax.Array | None:
  """Where the whole sequence has its last reset, (*batch,); -1 for nowhere."""
  if reset is None:
    return None
  place = jnp.arange(time)
  if axis is not None:
    place = place + lax.axis_index(axis) * time
  last = jnp.max(jnp.where(reset, place, -1), axis=-1)
  return last if axis is None else lax.pmax(last, axis)


def _with_halo(config: Any, q, k, v, state, reset, axis: str) -> Outputs:
  """Time is split: as many keys and values as a window come from the left.

  Elements are those of this device, the state that before the whole sequence.
  What travels does not depend on the length of the whole sequence.
  """
  *batch, time, groups, width = k.shape
  devices, own = lax.axis_size(axis), lax.axis_index(axis)
  count = config.window
  if state is None:
    count = min(count, (devices - 1) * time)
    begin, init = jnp.zeros(batch, jnp.int32), None
  else:
    begin = _begin(config, state) - config.window
    init = _flat(*(x.astype(k.dtype) for x in (state.keys, state.values)))
  near = halo.previous(_flat(k, v), count, axis, init)
  near = near.reshape(*near.shape[:-1], 2, groups, width)
  k = jnp.concatenate([near[..., 0, :, :], k], axis=-3)
  v = jnp.concatenate([near[..., 1, :, :], v], axis=-3)
  # From positions in the whole sequence to those among the keys here.
  begin = jnp.maximum(begin + count - own * time, 0)
  if reset is not None and count:
    flags = halo.previous_flags(reset, count, axis)
    last = jnp.max(jnp.where(flags, jnp.arange(count), -1), axis=-1)
    begin = jnp.maximum(begin, last)
  q, k, v, begin = prefix.vary(axis, q, k, v, begin)
  o, keys, values = _attend(config, q, k, v, begin, reset)
  return o, *prefix.replicate_last((keys, values), axis)


def _by_scheme(
  config: Any, q, k, v, state, reset, axis: str, scheme: str
) -> Outputs:
  """Time is split, and the window covers the whole sequence.

  By one of the schemes of `recurrence.softmax_attention`; a ValueError if the
  window is shorter than the sequence.
  """
  time, batch_axes = q.shape[-3], q.ndim - 3
  whole = lax.axis_size(axis) * time
  if whole > config.window + 1:
    raise _validate.error(
      "window",
      config.window,
      f"at least {whole - 1} for scheme {scheme!r}, which covers the whole "
      "sequence; scheme 'halo' takes any window",
    )
  place = lax.axis_index(axis) * time + jnp.arange(time)
  cached = 0 if state is None else config.window
  q_turned, k_turned = (_turn(config, x, cached + place) for x in (q, k))
  q_turned, k_turned, by_head = (
    x.swapaxes(-2, -3) for x in (q_turned, k_turned, v)
  )
  init = None
  begin = jnp.zeros(q.shape[:batch_axes], jnp.int32)
  if state is not None:
    begin = _begin(config, state)
    init = _cached_average(config, q_turned, state, begin, place, reset, axis)
  o = recurrence.softmax_attention(
    q_turned,
    k_turned,
    by_head,
    axis=axis,
    scheme=scheme,
    reset=reset,
    init=init,
  )
  k, v = collectives.joined(axis, (k, v), batch_axes)
  if state is not None:
    k, v = _behind_cache(k, v, state)
  last = last_reset(reset, time, axis)
  start = begin if last is None else jnp.where(last < 0, begin, cached + last)
  return o.swapaxes(-2, -3), *_kept(config, k, v, start)


def _attend(config, q, k, v, begin, reset):
  """Queries are the last elements of k and v; an episode began at `begin`."""
  time = q.shape[-3]
  start = _starts(begin, reset, k.shape[-3] - time, time)
  o = recurrence.window_attention(
    *_turned(config, q, k, time), v, start, config.window
  )
  return o, *_kept(config, k, v, start[..., -1])


def _begin(config, state):
  """Where the episode of the cached elements begins among them."""
  # The caller's flag may void what a state says: any number will do then.
  held = jnp.clip(jnp.nan_to_num(state.length), 0, config.window)
  return config.window - jnp.round(held).astype(jnp.int32)


def _behind_cache(k, v, state):
  return tuple(
    jnp.concatenate([cache.astype(x.dtype), x], axis=-3)
    for cache, x in ((state.keys, k), (state.values, v))
  )


def _flat(k, v):
  """(*batch, time, features), to travel at once."""
  both = jnp.stack([k, v], axis=-3)
  return both.reshape(*both.shape[:-3], -1)


def _kept(config, k, v, start):
  """The last `window` keys and values, zeros before `start`."""
  kept = jnp.arange(k.shape[-3])[-config.window :] >= start[..., None]
  keys, values = (
    jnp.where(kept[..., None, None], x[..., -config.window :, :, :], 0)
    for x in (k, v)
  )
  return keys, values


def _starts(begin, reset, earlier, time):
  """Where the episode of each element begins, among cached and new elements.

  (*batch, time), from where the episode of the `earlier` cached ones does.
  """
  if reset is None:
    return jnp.broadcast_to(begin[..., None], (*begin.shape, time))
  last = jnp.where(reset, jnp.arange(time), -1)
  last = lax.cummax(last, axis=last.ndim - 1)
  return jnp.where(last < 0, begin[..., None], earlier + last)


def _turned(config, q, k, time):
  """Queries and keys with their positions; only differences matter."""
  total = k.shape[-3]
  # Of numpy, the positions of one step are a constant, and the compiler takes
  # the sines of a constant once and for all.
  index = np.arange(total) if time == 1 else jnp.arange(total)
  return (
    _turn(config, q, index[total - time :]),
    _turn(config, k, index),
  )


def _turn(config, x, index):
  if config.positions == "none":
    return x
  return positions.rotary(x, index[:, None], config.rotary_base)


def _cached_average(config, q, state, begin, place, reset, axis):
  """What this device's queries see of the cache."""
  dtype = q.dtype
  index = jnp.arange(config.window)
  keys = _turn(config, state.keys.astype(dtype), index)
  # What the cache holds, and which queries still see it, is segment 0.
  held = jnp.where(index >= begin[..., None], 0, 1)
  seeing = jnp.zeros((*begin.shape, len(place)), held.dtype)
  if reset is not None:
    resets = lax.all_gather(jnp.any(reset, axis=-1), axis)
    earlier = jnp.arange(len(resets)) < lax.axis_index(axis)
    before = jnp.any(jnp.moveaxis(resets, 0, -1) & earlier, axis=-1)
    first = lax.cummax(reset.astype(jnp.int32), axis=reset.ndim - 1) == 0
    seeing = jnp.where(first & ~before[..., None], 0, 2)
  attend = jax.checkpoint(blocks.attend)
  return attend(
    jnp.where(jnp.isfinite(q), q, 0),
    keys.swapaxes(-2, -3),
    state.values.astype(dtype).swapaxes(-2, -3),
    # `window` elements before the one at `place` is the cached one of that
    # index, and those behind it are nearer.
    blocks.Sight(-place, -index, seeing, held),
  )
