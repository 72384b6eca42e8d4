"""Thin keys: channels that matter little are dropped from a cache.

After a prompt, the channels c of a head's keys of which q_c k_c is small for
the last queries are removed from the older keys: of the queries of a window
the sum of squares, times that of all keys. Xu et al., "ThinK: Thinner key cache
by query-driven pruning", arXiv:2407.21018, and the authors' code. Values, the
last `recent` keys and all later ones stay whole.

    y, state = attention.apply(config, params, prompt)
    thin = attention_cache.thin(config, params, prompt[:, -32:], state, 0.4, 32)
    y, thin = attention_cache.thin_step(config, params, x, thin)

Heads that share keys share the channels, too. Keys are kept turned by their
positions, since what is dropped is a channel of turned keys.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import _validate
from jaxseq.mixers import _arguments
from jaxseq.mixers import contract
from jaxseq.mixers.keys_and_values import _heads
from jaxseq.mixers.keys_and_values import attention


@_serialization.exported("jaxseq.mixers.attention_cache.ThinState")
class ThinState(NamedTuple):
  """A cache with thin keys and whole ones, oldest first, right-aligned.

  Attributes:
    thin_keys: (*batch, window - recent, groups, kept), turned.
    channels: (*batch, groups, kept) int32, which these are, ascending.
    thin_values: (*batch, window - recent, groups, D), their values.
    keys: (*batch, recent + room, groups, D), whole and turned.
    values: likewise.
    length: (*batch,) number of elements of the episode.
    thinned: (*batch,) number of these before the first whole key.
  """

  thin_keys: jax.Array
  channels: jax.Array
  thin_values: jax.Array
  keys: jax.Array
  values: jax.Array
  length: jax.Array
  thinned: jax.Array


def channels(q: jax.Array, k: jax.Array, ratio: float) -> jax.Array:
  """Finds the channels of keys that matter most to queries.

  Args:
    q: (*batch, queries, heads, D), turned; zeros do not count.
    k: (*batch, keys, groups, D), turned; heads / groups neighboring heads share
      a key, and the sum of their scores counts.
    ratio: share of the channels to drop; floor(ratio D) are.

  Returns:
    (*batch, groups, D - floor(ratio D)) int32, ascending.

  Raises:
    ValueError: if shapes do not fit, or ratio is not at least 0 and below 1.
  """
  *batch, _, heads, width = _validate.shape(
    "q", q, ("*batch", "queries", "heads", "D")
  )
  groups = _validate.shape("k", k, (*batch, "keys", "groups", width))[-2]
  if heads % groups:
    raise _validate.error("k", f"{groups} groups", f"a divisor of {heads}")
  if not 0 <= ratio < 1:
    raise _validate.error("ratio", ratio, "a number of at least 0, below 1")
  wide = contract.wide_dtype(q, k)
  q, k = q.astype(wide), k.astype(wide)
  of_queries = jnp.sum(q * q, axis=-3).reshape(*batch, groups, -1, width)
  scores = jnp.sum(of_queries, axis=-2) * jnp.sum(k * k, axis=-3)
  index = jax.lax.top_k(scores, width - int(ratio * width))[1]
  return jnp.sort(index, axis=-1)


def thin(
  config: attention.Config,
  params: contract.Params,
  x_last: jax.Array,
  state: attention.State,
  ratio: float,
  recent: int = 32,
  room: int | None = None,
) -> ThinState:
  """Drops channels of the older keys of a cache.

  Args:
    config: options of the layer, with `positions` "rotary" or "none", without
      `select` and `key_format`.
    params: its parameters.
    x_last: (*batch, n, d_model), the layer's last inputs, of which the queries
      are made; 32 in the authors' code. Those before the episode do not count.
    state: the layer's state after them.
    ratio: share of the channels to drop.
    recent: number of the last keys that stay whole.
    room: number of later elements that there is place for; window - recent if
      None, which is enough for any number, since by then the thin keys are out
      of reach. With less, outputs are NaN once a key in reach is lost.

  Returns:
    The state for `thin_step`.

  Raises:
    ValueError: if an argument does not fit the above.
  """
  _check(config, params)
  _arguments.check_inputs(
    config, x_last, state, attention.initial_state, None, step=False
  )
  window = config.window
  if _validate.integer("recent", recent, 0) > window:
    expected = f"at most window = {window}"
    raise _validate.error("recent", recent, expected)
  old = window - recent
  room = old if room is None else _validate.integer("room", room, 0)
  length = state.length
  index = length[..., None] - window + jnp.arange(window)
  held = (index >= 0)[..., None, None]
  keys = jnp.where(held, _turned(config, state.keys, index), 0)
  values = jnp.where(held, state.values, 0)
  q, _, _ = _heads.project(config, params, x_last)
  seen = x_last.shape[-2]
  index = length[..., None] - seen + jnp.arange(seen)
  q = jnp.where((index >= 0)[..., None, None], _turned(config, q, index), 0)
  chosen = channels(q, keys, ratio)
  older = keys[..., :old, :, :]
  places = jnp.broadcast_to(
    chosen[..., None, :, :], (*older.shape[:-1], chosen.shape[-1])
  )
  pad = [(0, 0)] * keys.ndim
  pad[-3] = (room, 0)
  return ThinState(
    jnp.take_along_axis(older, places, axis=-1),
    chosen,
    values[..., :old, :, :],
    jnp.pad(keys[..., old:, :, :], pad),
    jnp.pad(values[..., old:, :, :], pad),
    length,
    jnp.maximum(length - recent, 0),
  )


def thin_step(
  config: attention.Config,
  params: contract.Params,
  x: jax.Array,
  state: ThinState,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, ThinState]:
  """Runs attention over one element, beside thin keys.

  Args:
    config: as in `thin`.
    params: parameters of the layer.
    x: (*batch, d_model).
    state: state before the element.
    reset: (*batch,) bool; where true nothing before the element is seen.

  Returns:
    y of x's shape and dtype, and the state after the element.

  Raises:
    ValueError: if an argument does not fit the above.
  """
  _check(config, params)
  shape = (*state.length.shape, config.d_model)
  _validate.shape("x", x, shape)
  if reset is not None:
    _arguments.check_flags("reset", reset, shape[:-1])
    begun = functools.partial(jnp.where, reset, 0)
    length, thinned = map(begun, (state.length, state.thinned))
    state = state._replace(length=length, thinned=thinned)
  length, thinned = state.length, state.thinned
  q, k, v = _heads.project(config, params, x)
  q = _turned(config, _heads.scaled(config, q), length)
  k = _turned(config, k, length)
  keys, values = (
    jnp.concatenate([past, one[..., None, :, :].astype(past.dtype)], axis=-3)
    for past, one in ((state.keys, k), (state.values, v))
  )
  # Distances from the element, of whole keys and of thin ones.
  places, old = keys.shape[-3] - 1, state.thin_keys.shape[-3]
  whole = (length - thinned)[..., None]
  far = places - jnp.arange(places + 1)
  seen = far <= jnp.minimum(whole, config.window)
  far = whole + old - jnp.arange(old)
  thin_seen = far <= jnp.minimum(config.window, length[..., None])

  def grouped(q):
    return q.reshape(*shape[:-1], config.groups, -1, config.head_width)

  wide = contract.wide_dtype(x)

  def product(spec, *factors):
    factors = (factor.astype(x.dtype) for factor in factors)
    return jnp.einsum(spec, *factors, preferred_element_type=wide)

  def scores(q, keys, seen):
    mask = seen[..., None, None, :]
    keys = jnp.where(seen[..., None, None], keys, 0)
    products = product("...ghd,...kgd->...ghk", q, keys)
    products = products / math.sqrt(config.head_width)
    return jnp.where(mask, products, -jnp.inf)

  q = grouped(q)
  chosen = jnp.broadcast_to(
    state.channels[..., None, :], (*q.shape[:-1], state.channels.shape[-1])
  )
  thin_q = jnp.take_along_axis(q, chosen, axis=-1)
  products = [
    scores(thin_q, state.thin_keys, thin_seen),
    scores(q, keys, seen),
  ]
  weights = jax.nn.softmax(jnp.concatenate(products, axis=-1), axis=-1)
  all_seen = jnp.concatenate([thin_seen, seen], axis=-1)[..., None, None]
  both = jnp.concatenate([state.thin_values, values], axis=-3)
  o = product("...ghk,...kgd->...ghd", weights, jnp.where(all_seen, both, 0))
  lost = (whole > places) & (config.window > places)
  o = jnp.where(lost[..., None, None], jnp.nan, o).astype(x.dtype)
  o = _heads.gated(config, params, x, o)
  y = contract.project(params, "W_o", o).astype(x.dtype)
  state = state._replace(
    keys=keys[..., 1:, :, :], values=values[..., 1:, :, :], length=length + 1
  )
  return y, state


def _turned(config, x, index):
  """Queries or keys with their positions."""
  if config.positions == "none":
    return x
  return _heads.rotate(config, x, index)


def _check(config, params):
  """Checks that a layer's keys can be thin."""
  _arguments.check_params(attention.Config, attention.init, config, params)
  for name, fits, expected in (
    ("positions", config.positions != "relative", "'rotary' or 'none'"),
    ("select", config.select == "all", "'all'"),
    ("key_format", config.key_format is None, "None"),
  ):
    if not fits:
      got = getattr(config, name)
      raise _validate.error(name, got, f"{expected} for thin keys")
