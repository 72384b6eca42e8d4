"""The selective scan by a kernel, with derivatives of any order."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _kept_vjp
from jaxseq.kernels.selective import _inputs
from jaxseq.recurrence.linear import _linear_methods
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.selective import _selective_chunk
from jaxseq.recurrence.shared import _chunks

# Channels of the smallest block, and states of the smallest tile.
_CHANNELS, _STATES = 128, 8


def scan(
  form: support.Form,
  weights: _selective_chunk.Weights,
  inputs: _selective_chunk.Inputs,
  h: jax.Array,
  reset: jax.Array | None,
  *,
  segments: int = 1,
) -> tuple[jax.Array, jax.Array]:
  """Runs `selective_scan` by kernels.

  Args:
    form: see `support.form`.
    weights: A (n, d), and D (d,) or None.
    inputs: x and delta (rows, time, d), B and C (rows, time, n).
    h: (rows, n, d) state before the first element.
    reset: (rows, time) bool, or None.
    segments: parallel segments of time, on GPUs.

  Returns:
    The last state, and outputs (rows, time, d) in the dtype of x.
  """
  D = weights.D
  y, final = _scan(
    _inputs.Options(form, segments),
    _inputs.Inputs(
      inputs.x,
      inputs.delta,
      weights.A,
      inputs.B,
      inputs.C,
      jnp.zeros_like(weights.A[0]) if D is None else D,
      h,
      None if reset is None else 1 - reset.astype(jnp.float32),
    ),
  )
  return final, y


def _forward(options, inputs, save):
  """Returns y and the last state, and the padded states between tiles."""
  rows, time, d = inputs.x.shape
  n = inputs.A.shape[0]
  kernel, padded = _kernel(options), _padded(options, inputs)
  cut = _by_segment(options, padded, padded.h)
  if options.segments > 1:
    start = cut._replace(h=jnp.zeros_like(cut.h))
    maps = kernel.summary(options.form, start)
    cut = cut._replace(h=_entering(options, cut, maps, padded.h, False))
  y, final, states = kernel.forward(options.form, cut, save=save)
  y = y.reshape(rows, -1, y.shape[-1])
  final = final.reshape(rows, -1, *final.shape[1:])[:, -1]
  return (y[:, :time, :d], final[:, :n, :d]), states


def _gradient(options, inputs, states, cotangents):
  """Returns the cotangents of the inputs."""
  g, g_final = cotangents
  rows = len(g_final)
  kernel, padded = _kernel(options), _padded(options, inputs)
  g, g_final = _fill(g, padded.x.shape), _fill(g_final, padded.h.shape)
  cut = _by_segment(options, padded, g_final)
  g = _as_rows(options, g)
  if options.segments > 1:
    start = cut._replace(h=jnp.zeros_like(cut.h))
    maps = kernel.adjoint_summary(options.form, start, g)
    g_final = _entering(options, cut, maps, g_final, True)
  cotangents = kernel.backward(options.form, cut, states, g, g_final)
  whole = {
    name: x.reshape(rows, -1, *x.shape[2:])
    for name in ("x", "delta", "B", "C")
    for x in [getattr(cotangents, name)]
  }
  d_h = cotangents.h.reshape(rows, -1, *cotangents.h.shape[1:])[:, 0]
  return jax.tree.map(
    lambda leaf, like: _calls.cut(leaf, like.shape).astype(like.dtype),
    cotangents._replace(h=d_h, keep=None, **whole),
    inputs._replace(keep=None),
  )


def _plain(options, inputs):
  """Computes the results without a kernel."""
  method = "associative" if options.form.chip == "gpu" else "sequential"
  weights = _selective_chunk.Weights(inputs.A, None, None, inputs.D)
  elements = _selective_chunk.Inputs(inputs.x, inputs.delta, inputs.B, inputs.C)
  reset = None if inputs.keep is None else inputs.keep == 0
  size = max(32, math.isqrt(inputs.x.shape[1]))
  (_, h), y = _chunks.over_chunks(
    functools.partial(_selective_chunk.run, method),
    size,
    (weights, inputs.h),
    elements,
    reset,
  )
  return y, h


_scan = _kept_vjp.differentiable(_forward, _gradient, _plain, flags="keep")


def _kernel(options):
  """Returns the chip's module, which loads Pallas."""
  if options.form.chip == "tpu":
    from jaxseq.kernels.selective import _tpu as chip
  else:
    from jaxseq.kernels.selective import _gpu as chip
  return chip


def _padded(options, inputs):
  """Pads time, channels and states to whole blocks, without any effect."""
  tile = _kernel(options).TILE * options.segments
  rows, time, d = inputs.x.shape
  time, d = (-(-size // by) * by for size, by in ((time, tile), (d, _CHANNELS)))
  n = -(-inputs.A.shape[0] // _STATES) * _STATES
  keep = inputs.keep
  if keep is not None:
    keep = _calls.padded(keep, 1, tile, fill=1)
  return _inputs.Inputs(
    _fill(inputs.x, (rows, time, d)),
    _fill(inputs.delta, (rows, time, d)),
    _fill(inputs.A, (n, d)),
    _fill(inputs.B.astype(jnp.float32), (rows, time, n)),
    _fill(inputs.C.astype(jnp.float32), (rows, time, n)),
    _fill(inputs.D, (d,)),
    _fill(inputs.h, (rows, n, d)),
    keep,
  )


def _as_rows(options, x):
  """Converts [R, T, ...] to [R segments, T / segments, ...]."""
  return x.reshape(x.shape[0] * options.segments, -1, *x.shape[2:])


def _by_segment(options, inputs, h):
  """Converts segments to rows; with several, `h` [R, N, D] is only a shape."""
  cut = {
    name: _as_rows(options, getattr(inputs, name))
    for name in ("x", "delta", "B", "C")
  }
  keep = None if inputs.keep is None else _as_rows(options, inputs.keep)
  h = jnp.repeat(h, options.segments, axis=0)
  return inputs._replace(h=h, keep=keep, **cut)


def _entering(options, cut, maps, h, reverse):
  """Returns the entering state or cotangent, [R segments, N, D]."""
  total, addend = maps
  factor = jnp.exp(total[:, None] * cut.A)
  if cut.keep is not None:
    alive = jnp.all(cut.keep > 0, axis=1)[:, None, None]
    factor = jnp.where(alive, factor, 0)
  rows = h.shape[0]
  maps = (x.reshape(rows, options.segments, -1) for x in (factor, addend))
  states = _linear_methods.entering(*maps, h.reshape(rows, -1), reverse=reverse)
  return states.reshape(cut.h.shape)


def _fill(x, shape):
  """Pads the end of each axis with zeros, up to that shape."""
  if x.shape == shape:
    return x
  widths = [(0, size - have) for size, have in zip(shape, x.shape, strict=True)]
  return jnp.pad(x, widths)
