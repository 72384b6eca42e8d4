"""Arrays of `outer_scan_heads` in the layout of its kernel on Hopper."""

import math

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence import _outer_decays
from jaxseq.recurrence.kernels import outer_gpu
from jaxseq.recurrence.kernels import outer_products
from jaxseq.recurrence.kernels import support

# Keys of an operand's row in shared memory.
_TILE = 64


def forward(
  form: support.Form, x: outer_products.Inputs
) -> tuple[jax.Array, jax.Array]:
  """Outputs and the last state.

  Raises:
    NotImplementedError: if the products are not of bfloat16, or of too many
      keys for the registers.
  """

  def refuse(got, expected):
    got = f"{got} on a GPU"
    raise NotImplementedError(support.sentence("outer", got, expected))

  time, groups, keys = x.q.shape[1:]
  heads, values = x.v.shape[2:]
  if x.v.dtype != jnp.bfloat16:
    refuse(f"dtype {x.v.dtype}", "bfloat16")
  if keys > outer_gpu.MOST_KEYS:
    refuse(f"dk {keys}", f"at most {outer_gpu.MOST_KEYS}")
  undefined = None
  if x.reset is not None:
    # What is undefined may have been forgotten, but reaches in products of
    # matrices what it should not. It is set aside.
    undefined = _undefined(x)
    k, v, init = map(outer_products.clean, (x.k, x.v, x.init))
    x = x._replace(k=k, v=v, init=init)

  def flat(y, multiple):
    y = support.padded(support.padded(y, 1, outer_gpu.CHUNK), 3, multiple)
    return y.reshape(*y.shape[:2], -1)

  init = support.padded(x.init, 2, _TILE)
  init = support.padded(init, 3, outer_gpu.COLUMNS)
  o, final = outer_gpu.forward(
    form,
    groups,
    *(flat(x.q, _TILE), flat(x.k, _TILE)),
    flat(x.v, outer_gpu.COLUMNS),
    _facts(x),
    init,
  )
  o = o.reshape(*o.shape[:2], heads, -1)[:, :time, :, :values]
  final = final[:, :, :keys, :values]
  if undefined is not None:
    o = jnp.where(undefined[0], jnp.nan, o)
    final = jnp.where(undefined[1], jnp.nan, final)
  return o, final


def _undefined(x):
  """Outputs [B, T, H, 1] and states [B, H, 1, 1] that depend on what is."""
  heads = x.v.shape[2]

  def broken(y):
    y = ~outer_products.finite(y).all(axis=-1)
    return jnp.repeat(y, heads // y.shape[2], axis=2)

  element = broken(x.k) | broken(x.v)
  if x.decay is not None:  # A decay of exp(-inf) = 0 is a decay.
    element |= ~(x.decay[..., 0] < jnp.inf)
  place = jnp.arange(x.v.shape[1])[:, None]
  last = lax.cummax(jnp.where(element, place, -1), axis=1)
  begin = lax.cummax(jnp.where(x.reset[..., None], place, -1), axis=1)
  before = ~outer_products.finite(x.init).all(axis=(-2, -1))
  since = ((last >= 0) & (last >= begin)) | ((begin < 0) & before[:, None])
  return (since | broken(x.q))[..., None], since[:, -1, :, None, None]


def _facts(x):
  """As `outer_gpu.Facts` has them, [rows, heads, chunks, F, C]."""
  C, (rows, time, heads, _) = outer_gpu.CHUNK, x.v.shape
  chunks = math.ceil(time / C)
  shape = rows, heads, chunks, C

  def in_chunks(y):
    y = support.padded(y, 1, C).reshape(rows, chunks, C, -1)
    return y.transpose(0, 3, 1, 2)

  sums = rest = jnp.zeros(shape, jnp.float32)
  if x.decay is not None:
    a = in_chunks(x.decay.astype(jnp.float32))
    if x.reset is not None:
      a = jnp.where(a < jnp.inf, a, 0)
    exact = _outer_decays.log_decay_sums(a[..., None])[..., 0]
    sums, rest = exact.total(), exact[..., -1:] - exact
  episode = jnp.zeros(shape, jnp.int32)
  if x.reset is not None:
    resets = in_chunks(x.reset[..., None])
    episode = jnp.cumsum(resets, axis=-1, dtype=jnp.int32)
    episode = jnp.broadcast_to(episode, shape)
  enter = jnp.where(episode == 0, jnp.exp(sums), 0)
  leave = jnp.where(episode == episode[..., -1:], jnp.exp(rest), 0)
  facts = {
    outer_gpu.Facts.SUMS: sums,
    outer_gpu.Facts.EPISODE: episode.astype(jnp.float32),
    outer_gpu.Facts.ENTER: enter,
    outer_gpu.Facts.LEAVE: leave,
  }
  return jnp.stack([facts[fact] for fact in outer_gpu.Facts], axis=3)
