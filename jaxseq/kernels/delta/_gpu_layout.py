"""Arrays of `delta_scan` in the layout of its kernels on Hopper."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels.delta import _gpu
from jaxseq.kernels.delta import _gpu_backward
from jaxseq.kernels.delta import _gpu_channels
from jaxseq.kernels.delta import _gpu_channels_backward
from jaxseq.kernels.delta import _products
from jaxseq.kernels.outer import _gpu_layout as _outer_gpu_layout
from jaxseq.kernels.outer import _products as _outer_products
from jaxseq.recurrence.platform import support

# Features of an operand's row in shared memory.
_TILE = 64


class Kept(NamedTuple):
  """Residuals of the gradient beside the inputs."""

  given: _gpu.Blocks  # what the kernels along time consume
  inverse: jax.Array  # of what elements of a chunk read off each other
  entering: jax.Array  # states that enter the chunks
  written: jax.Array  # what elements write at their keys
  # last states that are undefined, [rows, 1, 1] bool; None without resets
  undefined: jax.Array | None


def forward(
  form: support.Form, _: int, x: _products.Inputs, keeps: bool
) -> tuple[jax.Array, jax.Array, Kept | None]:
  """Outputs, the last state, and if asked what the gradient needs."""
  _outer_gpu_layout.check("delta", x.v.dtype, x.k.shape[2])
  most, values = _gpu_channels.MOST_VALUES, x.v.shape[2]
  if _channels(x) and values > most:
    got = f"dv {values} with a decay for each key"
    support.refuse("delta", got, f"at most {most}")
  heads = _with_heads(x)
  undefined = _outer_gpu_layout.undefined(heads, x.read[:, :, None])
  if _channels(x):
    heads = heads._replace(decay=None)
  facts, init = _outer_gpu_layout.facts(heads, undefined), x.init
  if undefined is not None:
    undefined = undefined[:, -1, :, None]
    # What is undefined may have been forgotten, but reaches in products of
    # matrices what it should not. The kernels set it aside.
    init = _outer_products.clean(init)
  inputs = _blocks(x, facts)
  if _channels(x):
    inputs, inverse = _gpu_channels.decayed(
      _plan(form, x), inputs, _elements(x.decay)
    )
  else:
    inverse = _gpu.invert(form, inputs)
  o, final, *rest = _gpu.scan(form, inputs, inverse, _state(init), keeps)
  o, final = _calls.cut(o, x.v.shape), _calls.cut(final, x.init.shape)
  if undefined is not None:
    final = jnp.where(undefined, jnp.nan, final)
  return o, final, Kept(inputs, inverse, *rest, undefined) if keeps else None


def backward(
  form: support.Form,
  _: int,
  x: _products.Inputs,
  saved: Kept,
  g: jax.Array,
  d_final: jax.Array,
) -> _products.Inputs:
  """Cotangents of the inputs from those of the outputs and the last state."""
  if saved.undefined is not None:
    d_final = jnp.where(saved.undefined, 0, d_final)
  g = _elements(g)
  dv, d_init, after = _gpu_backward.adjoint(
    form, saved.given, saved.inverse, g, _state(d_final)
  )
  arrays, of_pairs = _blocks(x, saved.given.facts), (saved.written, g, dv)
  of_states = saved.entering, after
  if _channels(x):
    dq, dk, d_read, d_decay = _gpu_channels_backward.gradients(
      _plan(form, x), arrays, _elements(x.decay), *of_pairs, *of_states
    )
    d_decay = _calls.cut(d_decay, x.decay.shape)
  else:
    dq, dk, d_read, sums = _gpu_backward.gradients(
      form, arrays, *of_pairs, *of_states
    )
    d_decay = None if x.decay is None else _d_decay(x, sums)
  d_inputs = (_calls.cut(d, y.shape) for d, y in zip((dq, dk, dv, d_read), x))
  d_init = _calls.cut(d_init, x.init.shape)
  return _products.Inputs(*d_inputs, d_decay, d_init, None)


def _channels(x):
  """True if each key has a decay."""
  return x.decay is not None and x.decay.shape[2] > 1


def _plan(form, x):
  return _gpu_channels.Plan(x.reset is not None, form)


def _with_heads(x):
  """Inputs of the kernels of `outer_scan_heads`, one head to a row."""
  if _channels(x) and x.reset is not None:
    # What stands at a reset is not read.
    x = x._replace(decay=jnp.where(x.reset[..., None], 0, x.decay))
  q, k, v, decay = (
    None if y is None else y[:, :, None] for y in (x.q, x.k, x.v, x.decay)
  )
  return _outer_products.Inputs(q, k, v, decay, x.init[:, None], x.reset)


def _blocks(x, facts):
  """Padded arrays of the kernels."""
  return _gpu.Blocks(*map(_elements, x[:4]), facts)


def _elements(x):
  """Array [rows, time, n], padded."""
  return _calls.padded(_calls.padded(x, 1, _gpu.CHUNK), 2, _TILE)


def _state(x):
  return _calls.padded(_calls.padded(x, 1, _TILE), 2, _TILE)


def _d_decay(x, sums):
  """Cotangents of the decays, from what the kernel has summed up."""
  rows, time, _ = x.decay.shape
  sums, Sums = sums.sum(2), _gpu_backward.Sums
  last = sums[:, :, int(Sums.LAST)].sum(-1)
  d_sums = sums[:, :, int(Sums.ELEMENTS)].at[..., -1].add(last)
  a, bad = _outer_gpu_layout.decays(_with_heads(x))
  da = _outer_gpu_layout.d_log_decay(d_sums[:, None], a, x.reset)
  if x.reset is not None:
    da = jnp.where(bad, 0, da)
  return da.reshape(rows, -1, 1)[:, :time].astype(x.decay.dtype)
