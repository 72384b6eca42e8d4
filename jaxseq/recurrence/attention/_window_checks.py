"""Checks of the arguments of `window_attention`."""

import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _checks


def distances(distances, q, window):
  """Checks further queries and the vectors that they meet."""
  if distances is not None:
    validate.shape("distances[0]", distances[0], jnp.shape(q))
    shape = window + 1, *jnp.shape(q)[-2:]
    validate.shape("distances[1]", distances[1], shape)


def decay(decay, q, window, init):
  """Returns decays, checked, as a state's fades, in at least float32."""
  has_fades = init is not None and hasattr(init, "fades")
  if decay is None:
    if has_fades:
      raise validate.error("decay", None, "decays, as init has fades")
    return None
  _checks.floating(decay=decay)
  validate.shape("decay", decay, jnp.shape(q)[:-1])
  if has_fades:
    shape = *jnp.shape(q)[:-3], window, jnp.shape(q)[-2]
    validate.shape("init.fades", init.fades, shape)
  elif init is not None:
    got, expected = type(init).__name__, "a FadingWindowState, with a decay"
    raise validate.error("init", got, expected)
  decay = jnp.asarray(decay)
  return decay.astype(jnp.promote_types(decay.dtype, jnp.float32))


def arguments(q, k, v, window, init, reset, expand, block_size):
  """Checks the arguments; returns batch shape and time."""
  *batch, time, heads, width = validate.shape(
    "q", q, ("*batch", "time", "heads", "D")
  )
  if expand is None:
    shape = validate.shape("k", k, (*batch, time, "groups", width))
    _groups("k", shape, heads)
    validate.shape("v", v, shape)
  else:
    shape = validate.shape("k", k, (*batch, time, "groups", "width"))
    if v is not None:
      raise validate.error("v", f"shape {jnp.shape(v)}", "None with expand")
  validate.positive("window", window)
  if block_size is not None:
    validate.positive("block_size", block_size)
  if init is not None:
    cache = (*batch, window, *shape[-2:])
    validate.shape("init.keys", init.keys, cache)
    if expand is None:
      validate.shape("init.values", init.values, cache)
    validate.shape("init.length", init.length, tuple(batch))
  _checks.reset(reset, (*batch, time))
  return tuple(batch), time


def _groups(name, shape, heads):
  """Checks that keys of that shape are shared evenly by the heads."""
  if heads % shape[-2]:
    expected = f"groups a divisor of {heads}"
    raise validate.error(name, f"shape {shape}", expected)


def expanded(q, k, v, count):
  """Checks the results of `expand` for `count` keys."""
  *batch, _, heads, width = q.shape
  shape = validate.shape("keys", k, (*batch, count, "groups", width))
  _groups("keys", shape, heads)
  validate.shape("values", v, (*shape[:-1], "E"))
