"""Arrays of `outer_scan_heads` in the layout of its kernels on Hopper."""

import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence import _outer_decays
from jaxseq.recurrence.kernels import outer_gpu
from jaxseq.recurrence.kernels import outer_gpu_backward
from jaxseq.recurrence.kernels import outer_products
from jaxseq.recurrence.kernels import support

# Keys of an operand's row in shared memory.
_TILE = 64


class Kept(NamedTuple):
  """What the gradient needs beside the inputs.

  Attributes:
    entering: states that enter the chunks.
    facts: of the elements, see `outer_gpu.Facts`.
    undefined: last states that are undefined, [rows, heads, 1, 1] bool; None
      without resets.
  """

  entering: jax.Array
  facts: jax.Array
  undefined: jax.Array | None


def forward(
  form: support.Form, x: outer_products.Inputs, keeps: bool
) -> tuple[jax.Array, jax.Array, Kept | None]:
  """Outputs, the last state, and if asked what the gradient needs.

  Raises:
    NotImplementedError: if the products are not of bfloat16, or of too many
      keys for the registers.
  """

  def refuse(got, expected):
    got = f"{got} on a GPU"
    raise NotImplementedError(support.sentence("outer", got, expected))

  if x.v.dtype != jnp.bfloat16:
    refuse(f"dtype {x.v.dtype}", "bfloat16")
  groups, keys = x.q.shape[2:]
  if keys > outer_gpu.MOST_KEYS:
    refuse(f"dk {keys}", f"at most {outer_gpu.MOST_KEYS}")
  lost = undefined(x)
  given, init = facts(x, lost), x.init
  if lost is not None:
    lost = lost[:, -1, :, None, None]
    # What is undefined may have been forgotten, but reaches in products of
    # matrices what it should not. The kernels set it aside.
    init = outer_products.clean(init)
  o, final, entering = outer_gpu.scan(
    form, groups, _blocks(x, given), _padded_state(init), keeps=keeps
  )
  o, final = _heads(o, x.v.shape), _state(final, x.init.shape)
  if lost is not None:
    final = jnp.where(lost, jnp.nan, final)
  return o, final, Kept(entering, given, lost) if keeps else None


def backward(
  form: support.Form,
  x: outer_products.Inputs,
  kept: Kept,
  g: jax.Array,
  d_final: jax.Array,
) -> outer_products.Inputs:
  """Cotangents of the inputs from those of the outputs and the last state."""
  if kept.undefined is not None:
    d_final = jnp.where(kept.undefined, 0, d_final)
  groups, blocks = x.q.shape[2], _blocks(x, kept.facts)
  g = _flat(g, outer_gpu.COLUMNS)
  dv, d_init, after = outer_gpu.scan(
    form,
    groups,
    blocks._replace(q=blocks.k, k=blocks.q, v=g),
    _padded_state(d_final),
    keeps=True,
    reverse=True,
  )
  dq, dk, sums = outer_gpu_backward.backward(
    *(form, groups, blocks, g, kept.entering, after, x.decay is not None)
  )
  return outer_products.Inputs(
    _heads(dq, x.q.shape),
    _heads(dk, x.k.shape),
    _heads(dv, x.v.shape),
    None if sums is None else _d_decay(x, sums),
    _state(d_init, x.init.shape),
    None,
  )


def _blocks(x, facts):
  """What the kernels consume."""
  q, k, v = _flat(x.q, _TILE), _flat(x.k, _TILE), _flat(x.v, outer_gpu.COLUMNS)
  return outer_gpu.Blocks(q, k, v, facts)


def _flat(x, multiple):
  """From [rows, time, heads, n] to [rows, time, heads * n], padded."""
  x = support.padded(support.padded(x, 1, outer_gpu.CHUNK), 3, multiple)
  return x.reshape(*x.shape[:2], -1)


def _heads(x, shape):
  """The other way, to that shape."""
  x = x.reshape(*x.shape[:2], shape[2], -1)
  return x[:, : shape[1], :, : shape[3]]


def _padded_state(x):
  x = support.padded(x, 2, _TILE)
  return support.padded(x, 3, outer_gpu.COLUMNS)


def _state(x, shape):
  """The other way, to that shape."""
  return x[:, :, : shape[2], : shape[3]]


def undefined(x: outer_products.Inputs, *more: jax.Array) -> jax.Array | None:
  """Outputs [B, T, H] that depend on what is undefined; None without resets.

  Args:
    x: inputs.
    *more: of elements, like its keys.
  """
  if x.reset is None:
    return None
  heads = x.v.shape[2]

  def broken(y):
    y = ~outer_products.finite(y).all(axis=-1)
    return jnp.repeat(y, heads // y.shape[2], axis=2)

  element = broken(x.k) | broken(x.v)
  for y in more:
    element |= broken(y)
  if x.decay is not None:  # A decay of exp(-inf) = 0 is a decay.
    element |= ~(x.decay < jnp.inf).all(axis=-1)
  before = ~outer_products.finite(x.init).all(axis=(-2, -1))
  # The last event decides: what is undefined has an odd number.
  place = 2 * (jnp.arange(x.v.shape[1], dtype=jnp.int32)[:, None] + 1)
  event = jnp.where(x.reset[..., None], place, 0)
  event = jnp.where(element, place + 1, event)
  event = event.at[:, 0].max(before.astype(jnp.int32))
  return (lax.cummax(event, axis=1) % 2 == 1) | broken(x.q)


def _in_chunks(x):
  """From [rows, time, heads] to [rows, heads, chunks, C], padded."""
  x = support.padded(x, 1, outer_gpu.CHUNK)
  x = x.reshape(x.shape[0], -1, outer_gpu.CHUNK, x.shape[2])
  return x.transpose(0, 3, 1, 2)


def decays(x: outer_products.Inputs) -> tuple[jax.Array, jax.Array]:
  """Log-decays [rows, heads, chunks, C] that states survive, and where not."""
  a = _in_chunks(x.decay[..., 0].astype(jnp.float32))
  bad = ~(a < jnp.inf)
  return (a if x.reset is None else jnp.where(bad, 0, a)), bad


def _d_decay(x, sums):
  """Cotangents of the decays, from what the kernel has summed up."""
  rows, time, heads, _ = x.decay.shape
  sums = sums.reshape(rows, heads, -1, *sums.shape[2:]).sum((2, 4))
  later, earlier, last = (sums[..., row, :] for row in outer_gpu_backward.Sums)
  d_sums = (later - earlier).at[..., -1].add(last.sum(-1))
  a, bad = decays(x)
  da = _outer_decays.d_log_decay(d_sums[..., None], a[..., None])[..., 0]
  if x.reset is not None:
    da = jnp.where(bad, 0, da)
  da = da.transpose(0, 2, 3, 1).reshape(rows, -1, heads, 1)
  return da[:, :time].astype(x.decay.dtype)


def facts(x: outer_products.Inputs, lost: jax.Array | None) -> jax.Array:
  """As `outer_gpu.Facts` has them, [rows, heads, chunks, F, C].

  Args:
    x: inputs.
    lost: what is `undefined`.
  """
  C, (rows, time, heads, _) = outer_gpu.CHUNK, x.v.shape
  shape = rows, heads, math.ceil(time / C), C
  sums = rest = jnp.zeros(shape, jnp.float32)
  if x.decay is not None:
    a, _ = decays(x)
    exact = _outer_decays.log_decay_sums(a[..., None])[..., 0]
    sums, rest = exact.total(), exact[..., -1:] - exact
  episode = jnp.zeros(shape, jnp.int32)
  if x.reset is not None:
    resets = _in_chunks(x.reset[..., None])
    episode = jnp.cumsum(resets, axis=-1, dtype=jnp.int32)
    episode = jnp.broadcast_to(episode, shape)
  doubt = jnp.zeros(shape, jnp.float32)
  if lost is not None:
    lost = _in_chunks(lost).astype(jnp.float32)
    doubt = lost + lost.max(-1, keepdims=True)
  Facts = outer_gpu.Facts
  found = {
    Facts.SUMS: sums,
    Facts.EPISODE: episode.astype(jnp.float32),
    Facts.ENTER: jnp.where(episode == 0, jnp.exp(sums), 0),
    Facts.LEAVE: jnp.where(episode == episode[..., -1:], jnp.exp(rest), 0),
    Facts.DOUBT: doubt,
  }
  return jnp.stack([found[fact] for fact in Facts], axis=3)
