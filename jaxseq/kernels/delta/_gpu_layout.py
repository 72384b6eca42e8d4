"""Conversion of `delta_scan`'s arrays to the layout of Hopper kernels."""

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
  """Residuals of the gradient, besides the inputs."""

  given: _gpu.Blocks  # inputs of the kernels along time
  inverse: jax.Array  # inverse of the reads between a chunk's elements
  entering: jax.Array  # states that enter the chunks
  written: jax.Array  # writes of the elements at their keys
  # flags of undefined last states, [rows, 1, 1] bool; None without resets
  undefined: jax.Array | None


def forward(
  form: support.Form, _: int, x: _products.Inputs, keeps: bool
) -> tuple[jax.Array, jax.Array, Kept | None]:
  """Returns outputs, the last state, and residuals if requested."""
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
    # Undefined inputs may have been forgotten, but matrix products would spread
    # them. The kernels set them aside.
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
  """Returns cotangents of the inputs from those of outputs and last state."""
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
  """Converts to inputs of `outer_scan_heads`' kernels, one head per row."""
  if _channels(x) and x.reset is not None:
    # Decays at resets are ignored.
    x = x._replace(decay=jnp.where(x.reset[..., None], 0, x.decay))
  q, k, v, decay = (
    None if y is None else y[:, :, None] for y in (x.q, x.k, x.v, x.decay)
  )
  return _outer_products.Inputs(q, k, v, decay, x.init[:, None], x.reset)


def _blocks(x, facts):
  """Returns padded arrays of the kernels."""
  return _gpu.Blocks(*map(_elements, x[:4]), facts)


def _elements(x):
  """Pads an array [rows, time, n]."""
  return _calls.padded(_calls.padded(x, 1, _gpu.CHUNK), 2, _TILE)


def _state(x):
  return _calls.padded(_calls.padded(x, 1, _TILE), 2, _TILE)


def _d_decay(x, sums):
  """Returns cotangents of the decays from the kernel's sums."""
  rows, time, _ = x.decay.shape
  sums, Sums = sums.sum(2), _gpu_backward.Sums
  last = sums[:, :, int(Sums.LAST)].sum(-1)
  d_sums = sums[:, :, int(Sums.ELEMENTS)].at[..., -1].add(last)
  a, bad = _outer_gpu_layout.decays(_with_heads(x))
  da = _outer_gpu_layout.d_log_decay(d_sums[:, None], a, x.reset)
  if x.reset is not None:
    da = jnp.where(bad, 0, da)
  return da.reshape(rows, -1, 1)[:, :time].astype(x.decay.dtype)
