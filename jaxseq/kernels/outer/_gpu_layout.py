"""Conversion of `outer_scan_heads`' arrays to the layout of Hopper kernels."""

import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels.outer import _gpu
from jaxseq.kernels.outer import _gpu_backward
from jaxseq.kernels.outer import _products
from jaxseq.recurrence.outer import _outer_decays
from jaxseq.recurrence.platform import support

# Keys of an operand's row in shared memory.
TILE = 64


class Kept(NamedTuple):
  """Residuals of the gradient, besides the inputs."""

  entering: jax.Array  # states that enter the chunks
  facts: jax.Array  # facts of the elements, see `_gpu.Facts`
  # flags of undefined last states, [rows, heads, 1, 1] bool; None without
  # resets
  undefined: jax.Array | None


def forward(
  form: support.Form, _: int, x: _products.Inputs, keeps: bool
) -> tuple[jax.Array, jax.Array, Kept | None]:
  """Returns outputs, the last state, and residuals if requested."""
  check("outer", x.v.dtype, x.q.shape[-1])
  groups, lost = x.q.shape[2], undefined(x)
  fact_rows, init = facts(x, lost), x.init
  if lost is not None:
    lost = lost[:, -1, :, None, None]
    # Undefined inputs may have been forgotten, but matrix products would spread
    # them. The kernels set them aside.
    init = _products.clean(init)
  o, final, entering, _ = _gpu.scan(
    form, groups, blocks(x, fact_rows), padded_state(init), keeps=keeps
  )
  o, final = by_head(o, x.v.shape), _calls.cut(final, x.init.shape)
  if lost is not None:
    final = jnp.where(lost, jnp.nan, final)
  return o, final, Kept(entering, fact_rows, lost) if keeps else None


def check(op: str, dtype: jnp.dtype, keys: int) -> None:
  """Rejects dtypes and widths that the kernels do not support."""
  if dtype != jnp.bfloat16:
    support.refuse(op, f"dtype {dtype}", "bfloat16")
  if keys > _gpu.MOST_KEYS:
    support.refuse(op, f"dk {keys}", f"at most {_gpu.MOST_KEYS}")


def backward(
  form: support.Form,
  _: int,
  x: _products.Inputs,
  saved: Kept,
  g: jax.Array,
  d_final: jax.Array,
) -> _products.Inputs:
  """Returns cotangents of the inputs from those of outputs and last state."""
  if saved.undefined is not None:
    d_final = jnp.where(saved.undefined, 0, d_final)
  groups, arrays = x.q.shape[2], blocks(x, saved.facts)
  g = flat(g, _gpu.COLUMNS)
  dv, d_init, after, _ = _gpu.scan(
    form,
    groups,
    arrays._replace(q=arrays.k, k=arrays.q, v=g),
    padded_state(d_final),
    keeps=True,
    reverse=True,
  )
  dq, dk, sums = _gpu_backward.backward(
    *(form, groups, arrays, g, saved.entering, after, x.decay is not None)
  )
  return _products.Inputs(
    by_head(dq, x.q.shape),
    by_head(dk, x.k.shape),
    by_head(dv, x.v.shape),
    None if sums is None else d_decay(x, sums_of(sums, x.v.shape[2])),
    _calls.cut(d_init, x.init.shape),
    None,
  )


def blocks(x: _products.Inputs, facts: jax.Array) -> _gpu.Blocks:
  """Returns padded arrays of the kernels."""
  q, k, v = flat(x.q, TILE), flat(x.k, TILE), flat(x.v, _gpu.COLUMNS)
  return _gpu.Blocks(q, k, v, facts)


def flat(x: jax.Array, multiple: int) -> jax.Array:
  """Converts [rows, time, heads, n] to padded [rows, time, heads * n]."""
  x = _calls.padded(_calls.padded(x, 1, _gpu.CHUNK), 3, multiple)
  return x.reshape(*x.shape[:2], -1)


def by_head(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Undoes `flat`, for arrays of that shape."""
  x = x.reshape(*x.shape[:2], shape[2], -1)
  return x[:, : shape[1], :, : shape[3]]


def padded_state(x: jax.Array) -> jax.Array:
  """Pads a state [rows, heads, K, V] for the kernels."""
  x = _calls.padded(x, 2, TILE)
  return _calls.padded(x, 3, _gpu.COLUMNS)


def undefined(x: _products.Inputs, *more: jax.Array) -> jax.Array | None:
  """Flags outputs [B, T, H] of undefined inputs; None without resets."""
  if x.reset is None:
    return None
  heads = x.v.shape[2]

  def broken(y):
    y = ~_products.finite(y).all(axis=-1)
    return jnp.repeat(y, heads // y.shape[2], axis=2)

  element = broken(x.k) | broken(x.v)
  for y in more:
    element |= broken(y)
  if x.decay is not None:  # A decay of exp(-inf) = 0 is a decay.
    element |= ~(x.decay < jnp.inf).all(axis=-1)
  before = ~_products.finite(x.init).all(axis=(-2, -1))
  # The last event decides: undefined inputs have odd numbers.
  place = 2 * (jnp.arange(x.v.shape[1], dtype=jnp.int32)[:, None] + 1)
  event = jnp.where(x.reset[..., None], place, 0)
  event = jnp.where(element, place + 1, event)
  event = event.at[:, 0].max(before.astype(jnp.int32))
  return (lax.cummax(event, axis=1) % 2 == 1) | broken(x.q)


def in_chunks(x: jax.Array) -> jax.Array:
  """Converts [rows, time, heads] to padded [rows, heads, chunks, C]."""
  x = _calls.padded(x, 1, _gpu.CHUNK)
  x = x.reshape(x.shape[0], -1, _gpu.CHUNK, x.shape[2])
  return x.transpose(0, 3, 1, 2)


def decays(x: _products.Inputs) -> tuple[jax.Array, jax.Array]:
  """Returns finite log-decays [rows, heads, chunks, C], and bad flags."""
  a = in_chunks(x.decay[..., 0].astype(jnp.float32))
  bad = ~(a < jnp.inf)
  return (a if x.reset is None else jnp.where(bad, 0, a)), bad


def sums_of(sums: jax.Array, heads: int) -> jax.Array:
  """Sums the kernel's results, to [rows, heads, chunks, R, C]."""
  rows, blocks = sums.shape[:2]
  shape = rows, heads, blocks // heads, *sums.shape[2:]
  return sums.reshape(shape).sum((2, 4))


def d_decay(x: _products.Inputs, sums: jax.Array) -> jax.Array:
  """Returns the cotangents of the decays."""
  rows, time, heads, _ = x.decay.shape
  Sums = _gpu_backward.Sums
  d_sums = sums[..., Sums.LATER, :] - sums[..., Sums.EARLIER, :]
  d_sums = d_sums.at[..., -1].add(sums[..., Sums.LAST, :].sum(-1))
  a, bad = decays(x)
  da = d_log_decay(d_sums, a, x.reset)
  if x.reset is not None:
    da = jnp.where(bad, 0, da)
  da = da.transpose(0, 2, 3, 1).reshape(rows, -1, heads, 1)
  return da[:, :time].astype(x.decay.dtype)


def d_log_decay(
  d_sums: jax.Array, a: jax.Array, reset: jax.Array | None
) -> jax.Array:
  """Returns cotangents of log-decays [rows, heads, chunks, C] from sums'."""
  begins = None if reset is None else in_chunks(reset[..., None])[..., None]
  d_sums = d_sums[..., None]
  return _outer_decays.d_log_decay(d_sums, a[..., None], begins)[..., 0]


def facts(
  x: _products.Inputs,
  lost: jax.Array | None,
  log_weight: jax.Array | None = None,
) -> jax.Array:
  """Returns `_gpu.Facts`, [rows, heads, chunks, F, C]."""
  C, (rows, time, heads, _) = _gpu.CHUNK, x.v.shape
  shape = rows, heads, math.ceil(time / C), C
  sums = rest = jnp.zeros(shape, jnp.float32)
  if x.decay is not None:
    a, _ = decays(x)
    exact = _outer_decays.log_decay_sums(a[..., None])[..., 0]
    sums, rest = exact.total(), exact[..., -1:] - exact
  episode = jnp.zeros(shape, jnp.int32)
  if x.reset is not None:
    resets = in_chunks(x.reset[..., None])
    episode = jnp.cumsum(resets, axis=-1, dtype=jnp.int32)
    episode = jnp.broadcast_to(episode, shape)
  doubt = jnp.zeros(shape, jnp.float32)
  if lost is not None:
    lost = in_chunks(lost).astype(jnp.float32)
    doubt = lost + lost.max(-1, keepdims=True)
  if log_weight is not None:
    rest += log_weight
  Facts = _gpu.Facts
  fact_rows = {
    Facts.SUMS: sums,
    Facts.EPISODE: episode.astype(jnp.float32),
    Facts.ENTER: jnp.where(episode == 0, jnp.exp(sums), 0),
    Facts.LEAVE: jnp.where(episode == episode[..., -1:], jnp.exp(rest), 0),
    Facts.DOUBT: doubt,
  }
  if log_weight is not None:
    fact_rows[_gpu.Weighted.KEYS] = sums - log_weight
  return jnp.stack([fact_rows[fact] for fact in sorted(fact_rows)], axis=3)
