"""Attention to a window of keys without their least important channels.

Xu et al., "ThinK: Thinner key cache by query-driven pruning", arXiv:2407.21018,
and the authors' code: after a prompt, the channels c of a head's keys with the
smallest |q_c| |k_c| over the last queries and all keys leave the cache.
"""

from collections.abc import Callable
import functools
import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import validate
from jaxseq.recurrence.attention import _attention_parts
from jaxseq.recurrence.attention.window import WindowState


@_serialization.exported("jaxseq.recurrence.ThinWindow")
class ThinWindow(NamedTuple):
  """The last elements, oldest first; those before the episode are zeros.

  Attributes:
    thin_keys: (*batch, window - whole, groups, kept), with their positions.
    thin_values: (*batch, window - whole, groups, D), their values.
    keys: (*batch, whole, groups, D), the elements after them. Keys of the
      prompt have zeros in the dropped channels, except for the most recent
      ones.
    channels: (*batch, groups, kept) int32, ascending: the channels that are
      kept in `thin_keys`.
    length: (*batch,) number of elements since the state was fresh.
  """

  thin_keys: jax.Array
  thin_values: jax.Array
  keys: jax.Array
  values: jax.Array
  channels: jax.Array
  length: jax.Array


def important_channels(
  squares: jax.Array, keys: jax.Array, kept: int
) -> jax.Array:
  """Finds the key channels with the largest share of products with queries.

  The score of a channel is the Frobenius norm of its share of q k^T, squared:
  sum_t q_t^2 times sum_s k_s^2 (section 3 of the paper). The scores of heads
  that share keys are added.

  Args:
    squares: (*batch, queries, groups, D), squares of queries, summed over the
      heads that share keys; zeros do not count.
    keys: (*batch, keys, groups, D); zeros do not count.
    kept: number of channels to keep.

  Returns:
    (*batch, groups, kept) int32, ascending.

  Raises:
    ValueError: if shapes do not fit, or there are fewer channels.
  """
  *batch, _, groups, width = validate.shape(
    "squares", squares, ("*batch", "queries", "groups", "D")
  )
  validate.shape("keys", keys, (*batch, "keys", groups, width))
  validate.integer("kept", kept, 1, width)
  wide = jnp.result_type(squares, keys, jnp.float32)
  squares, keys = squares.astype(wide), keys.astype(wide)
  scores = jnp.sum(squares, axis=-3) * jnp.sum(keys * keys, axis=-3)
  return jnp.sort(lax.top_k(scores, kept)[1], axis=-1)


def thin_window(
  state: WindowState,
  squares: jax.Array,
  kept: int,
  whole: int,
  recent: int,
  *,
  embed: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> ThinWindow:
  """Drops the least important channels of a window's keys.

  Args:
    state: of `window_attention`.
    squares: (*batch, queries, groups, D), of the last queries with their
      positions, see `important_channels`.
    kept: number of channels that are kept.
    whole: number of the last keys that have room for all channels: the recent
      ones, and later ones until so many have followed them. Less than the
      window.
    recent: number of the last keys that keep all channels, at most `whole`.
    embed: adds positions (*batch, n) in the episode to keys (*batch, n, groups,
      D).

  Raises:
    ValueError: if shapes or sizes do not fit the above.
  """
  window = jnp.shape(state.keys)[-3]
  validate.integer("whole", whole, 1, window - 1)
  validate.integer("recent", recent, 0, whole)
  index = state.length[..., None] - window + jnp.arange(window)
  held = (index >= 0)[..., None, None]
  keys = (
    state.keys if embed is None else embed(state.keys, jnp.maximum(index, 0))
  )
  keys = jnp.where(held, keys, 0)
  values = jnp.where(held, state.values, 0)
  channels = important_channels(squares, keys, kept)
  places = channels[..., None] == jnp.arange(keys.shape[-1])
  stays = jnp.any(places, axis=-2)[..., None, :, :]
  old = (jnp.arange(window) < window - recent)[:, None, None]
  keys = jnp.where(old & ~stays, 0, keys)
  split = window - whole
  return ThinWindow(
    _taken(keys[..., :split, :, :], channels),
    values[..., :split, :, :],
    keys[..., split:, :, :],
    values[..., split:, :, :],
    channels,
    state.length,
  )


def thin_window_step(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  state: ThinWindow,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, ThinWindow]:
  """Lets one element attend to itself and to the window before it.

  `window_attention` of one element, except that products with thin keys use
  only the kept channels; the scale is that of all D channels.

  Args:
    q: (*batch, heads, D) queries, with positions.
    k: (*batch, groups, D) keys, with positions.
    v: like k, values.
    state: state before the element.
    reset: (*batch,) bool; if true, elements before the element are not visible.

  Returns:
    (*batch, heads, D) in the dtype of q, and the state after the element.
  """
  if reset is not None:

    def fresh(leaf):
      flags = reset.reshape(*reset.shape, *[1] * (leaf.ndim - reset.ndim))
      return jnp.where(flags, jnp.zeros((), leaf.dtype), leaf)

    parts = jax.tree.map(fresh, state._replace(channels=None))
    state = parts._replace(channels=state.channels)
  channels, length = state.channels, state.length

  def moved(past, new):
    new = new.astype(past.dtype)
    return jnp.concatenate([past[..., 1:, :, :], new], axis=-3)

  # The oldest whole key becomes thin, and the oldest thin one leaves.
  arrays = (
    moved(state.thin_keys, _taken(state.keys[..., :1, :, :], channels)),
    moved(state.thin_values, state.values[..., :1, :, :]),
    moved(state.keys, k[..., None, :, :]),
    moved(state.values, v[..., None, :, :]),
  )
  # The state's arrays are computed once: products read their layout.
  thin_keys, thin_values, keys, values = lax.optimization_barrier(arrays)
  old, whole = thin_keys.shape[-3], keys.shape[-3]
  window = old + whole

  def seen(distances):
    return (distances <= length[..., None])[..., None, :]

  parts = [
    (
      state.thin_keys[..., :1, :, :],
      state.thin_values[..., :1, :, :],
      seen(jnp.array([window])),
    ),
    (thin_keys, thin_values, seen(window - 1 - jnp.arange(old))),
    (keys, values, seen(whole - 1 - jnp.arange(whole))),
  ]
  parts = [(k.astype(q.dtype), v.astype(q.dtype), at) for k, v, at in parts]
  *batch, heads, width = q.shape
  grouped = q.reshape(*batch, channels.shape[-2], -1, width)
  places = jnp.broadcast_to(
    channels[..., None, :], (*grouped.shape[:-1], channels.shape[-1])
  )
  thin_q = jnp.take_along_axis(grouped, places, axis=-1)
  # Scaled, as products are divided by the root of the number of kept channels.
  thin_q = thin_q.reshape(*batch, heads, -1)
  thin_q = thin_q * math.sqrt(thin_q.shape[-1] / width)
  queries = [one[..., None, :, :] for one in (thin_q, thin_q, q)]
  o = _attention_parts.attend(queries, parts)[..., 0, :, :]
  state = ThinWindow(thin_keys, thin_values, keys, values, channels, length + 1)
  return o.astype(q.dtype), state


def thin_window_attention(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  state: ThinWindow,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, ThinWindow]:
  """Lets elements attend to the window before them, one after the other.

  Args:
    q: (*batch, time, heads, D), as of `thin_window_step`.
    k: (*batch, time, groups, D), as of `thin_window_step`.
    v: like k, values.
    state: state before the first element.
    reset: (*batch, time) bool; where true nothing before the element is seen.

  Returns:
    (*batch, time, heads, D) in the dtype of q, and the state after the last
    element.
  """
  axis = q.ndim - 3
  if q.shape[axis] == 1:
    first = jax.tree.map(
      functools.partial(jnp.squeeze, axis=axis), (q, k, v, reset)
    )
    o, state = thin_window_step(*first[:3], state, first[3])
    return jnp.expand_dims(o, axis), state

  def one(state, element):
    *parts, flags = element
    o, state = thin_window_step(*parts, state, flags)
    return state, o

  elements = jax.tree.map(
    lambda leaf: jnp.moveaxis(leaf, axis, 0), (q, k, v, reset)
  )
  state, o = lax.scan(one, state, elements)
  return jnp.moveaxis(o, 0, axis), state


def _taken(keys, channels):
  """Selects channels (*batch, groups, kept) of keys (*batch, n, groups, D)."""
  shape = *keys.shape[:-1], channels.shape[-1]
  places = jnp.broadcast_to(channels[..., None, :, :], shape)
  return jnp.take_along_axis(keys, places, axis=-1)
