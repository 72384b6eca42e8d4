"""The elements before a device's chunk, if time is split over devices."""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.shared import _checks


def previous(
  x: jax.Array, count: int, axis: str, init: jax.Array | None = None
) -> jax.Array:
  """Returns the `count` elements just before this device's first one."""
  # One `ppermute` of `count` elements if a chunk is at least that long; else
  # one for each device to the left that elements come from; they do not wait
  # for each other. For a chunk (*batch, time, features), oldest first; `init`
  # are the elements before the whole sequence, zeros (False) if None.
  validate.shape("x", x, ("*batch", "time", "features"))
  validate.integer("count", count, 0)
  shape = (*x.shape[:-2], count, x.shape[-1])
  _checks.shape("init", init, shape)
  time, devices = x.shape[-2], lax.axis_size(axis)
  pieces, missing = [], count
  for hops in range(1, devices):
    if not missing:
      break
    size = min(time, missing)
    # A device without a sender receives zeros.
    pairs = [(i, i + hops) for i in range(devices - hops)]
    pieces.append(lax.ppermute(x[..., time - size :, :], axis, pairs))
    missing -= size
  if missing:
    # More than all devices have. Zeros that differ between devices, in type.
    zeros = jnp.broadcast_to(jnp.zeros_like(x[..., :1, :]), shape)
    pieces.append(zeros[..., :missing, :])
  received = jnp.concatenate(pieces[::-1], axis=-2) if pieces else x[..., :0, :]
  if init is None or not count:
    return received
  # Device i has i * time elements to its left; those before them are the end of
  # init.
  start = jnp.minimum(lax.axis_index(axis) * time, count)
  padded = jnp.concatenate([init, jnp.zeros_like(init)], axis=-2)
  before = lax.dynamic_slice_in_dim(padded, start, count, axis=-2)
  outside = jnp.arange(count) < count - start
  dtype = jnp.result_type(x, init)
  return jnp.where(
    outside[:, None], before.astype(dtype), received.astype(dtype)
  )


def previous_flags(
  flags: jax.Array, count: int, axis: str, init: jax.Array | None = None
) -> jax.Array:
  """`previous` for arrays without features, such as masks and resets."""
  if init is not None:
    init = jnp.asarray(init)[..., None]
  return previous(jnp.asarray(flags)[..., None], count, axis, init)[..., 0]
