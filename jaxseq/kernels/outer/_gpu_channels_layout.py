"""Conversion of `outer_scan_heads`' arrays with channel decays, for Hopper."""

import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels.outer import _gpu_channels
from jaxseq.kernels.outer import _gpu_channels_backward
from jaxseq.kernels.outer import _gpu_layout as layouts
from jaxseq.kernels.outer import _products
from jaxseq.recurrence.platform import support

Facts = _gpu_channels.Facts
_C, _B = _gpu_channels.CHUNK, _gpu_channels.BLOCK


class Kept(NamedTuple):
  """Residuals of the gradient, besides the inputs."""

  entering: jax.Array  # states that enter the chunks
  facts: jax.Array  # facts of the elements, see `_gpu_channels.Facts`
  lost: jax.Array  # flags of undefined outputs, in the kernels' layout
  # flags of undefined last states, [rows, heads, 1, 1] bool; None without
  # resets
  undefined: jax.Array | None


def forward(
  form: support.Form, _: int, x: _products.Inputs, keeps: bool
) -> tuple[jax.Array, jax.Array, Kept | None]:
  """Returns outputs, the last state, and residuals if requested."""
  check(x.v.dtype, *x.init.shape[2:])
  facts, plan = _facts(x), _plan(form, x)
  q, k, v, a, init = _blocks(x)
  entering, final, broken = _gpu_channels.states(plan, k, v, a, facts, init)
  lost, undefined = _undefined(x, broken)
  o = _gpu_channels.outputs(plan, q, k, v, a, facts, lost, entering)
  o, final = layouts.by_head(o, x.v.shape), _calls.cut(final, x.init.shape)
  if undefined is not None:
    final = jnp.where(undefined, jnp.nan, final)
  return o, final, Kept(entering, facts, lost, undefined) if keeps else None


def backward(
  form: support.Form,
  _: int,
  x: _products.Inputs,
  saved: Kept,
  g: jax.Array,
  d_final: jax.Array,
  *,
  of_decays: bool = True,
) -> _products.Inputs:
  """Returns cotangents of the inputs from those of outputs and last state."""
  plan, facts = _plan(form, x), saved.facts
  if saved.undefined is not None:
    d_final = jnp.where(saved.undefined, 0, d_final)
    lost = saved.lost.reshape(*saved.lost.shape[:2], -1)
    lost = lost[:, :, : g.shape[1]].swapaxes(1, 2)[..., None]
    g = jnp.where(lost > 0, 0, g)
  q, k, v, a, _ = _blocks(x)
  g, d_final = layouts.flat(g, _B), layouts.padded_state(d_final)
  back = {"reverse": True}
  leaving, d_init, _ = _gpu_channels.states(
    plan, q, g, a, facts, d_final, **back
  )
  dv = _gpu_channels.outputs(
    plan, q, k, g, a, facts, saved.lost, leaving, **back
  )
  dq, dk, *da = _gpu_channels_backward.backward(
    plan, q, k, v, a, facts, saved.entering, g, leaving, of_decays=of_decays
  )
  return _products.Inputs(
    *(_of_groups(y, x.q.shape, x.v.shape[2]) for y in (dq, dk)),
    layouts.by_head(dv, x.v.shape),
    layouts.by_head(da[0], x.decay.shape) if da else None,
    _calls.cut(d_init, x.init.shape),
    None,
  )


def _of_groups(x, shape, heads):
  """Sums over the heads that share keys, in the layout of `by_head`."""
  x = layouts.by_head(x, (*shape[:2], heads, shape[3]))
  if shape[2] == heads:
    return x
  shared = x.reshape(*shape[:3], heads // shape[2], shape[3])
  return shared.sum(3, dtype=jnp.float32).astype(x.dtype)


def check(dtype: jnp.dtype, keys: int, values: int) -> None:
  """Raises NotImplementedError unless there are kernels for such products."""
  op, (most_keys, most_values) = "outer_per_channel", _gpu_channels.MOST
  if dtype != jnp.bfloat16:
    support.refuse(op, f"dtype {dtype}", "bfloat16")
  if keys > most_keys:
    support.refuse(op, f"dk {keys}", f"at most {most_keys}")
  if values > most_values:
    support.refuse(op, f"dv {values}", f"at most {most_values}")


def _plan(form, x):
  sizes = *x.init.shape[2:], x.decay.shape[3]
  keys, values, decays = (size + -size % _B for size in sizes)
  chunks = math.ceil(x.v.shape[1] / _C)
  return _gpu_channels.Plan(
    *(x.q.shape[2], x.v.shape[2], keys, values, decays, chunks),
    *(x.reset is not None, form),
  )


def _blocks(x):
  """Returns q, k, v, decays and the first state in the kernels' layout."""
  init = x.init if x.reset is None else _products.clean(x.init)
  flat = (layouts.flat(y, _B) for y in (x.q, x.k, x.v, x.decay))
  return *flat, layouts.padded_state(init)


def _undefined(x, broken):
  """Flags undefined outputs, and undefined last states [B, H, 1, 1]."""
  rows, time, heads, _ = x.v.shape
  shape = rows, heads, math.ceil(time / _C), _C
  if x.reset is None:
    return jnp.zeros(shape, jnp.float32), None
  element = broken.max(axis=2).reshape(rows, heads, -1)[..., :time] > 0
  place = jnp.arange(time)
  last = lax.cummax(jnp.where(element, place, -1), axis=2)
  begin = lax.cummax(jnp.where(x.reset[:, None], place, -1), axis=2)
  before = ~_products.finite(x.init).all(axis=(-2, -1))
  since = ((last >= 0) & (last >= begin)) | ((begin < 0) & before[..., None])
  of_q = ~_products.finite(x.q).all(axis=-1).swapaxes(1, 2)
  lost = since | jnp.repeat(of_q, heads // of_q.shape[1], axis=1)
  lost = _calls.padded(lost, 2, _C).reshape(shape).astype(jnp.float32)
  return lost, since[..., -1:, None]


def _facts(x):
  """Returns `_gpu_channels.Facts`, [rows, heads, chunks, F, C]."""
  rows, time, heads, _ = x.v.shape
  shape = rows, heads, math.ceil(time / _C), _C
  if x.reset is None:
    episode = jnp.zeros(shape, jnp.int32)
  else:
    resets = _calls.padded(x.reset, 1, _C).reshape(rows, 1, *shape[2:])
    episode = jnp.cumsum(resets, axis=-1, dtype=jnp.int32)
  facts = {
    Facts.EPISODE: episode,
    Facts.ENTER: episode == 0,
    Facts.LEAVE: episode == episode[..., -1:],
  }
  parts = [
    jnp.broadcast_to(facts[fact], shape).astype(jnp.float32) for fact in Facts
  ]
  return jnp.stack(parts, axis=3)
