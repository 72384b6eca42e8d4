"""`softmax_outer_scan` by kernels for Hopper, with its derivatives."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _kept_vjp
from jaxseq.kernels.outer import (
  _gpu_channels_layout as _outer_gpu_channels_layout,
)
from jaxseq.kernels.outer import _products as _outer_products
from jaxseq.kernels.softmax_outer import _gpu_decay
from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.platform import support

_CHANNELS = _gpu_decay.CHANNELS
_CHUNK = 64  # Chunk of `outer_scan`: a multiple of a tile of time.


class _Options(NamedTuple):
  """Static options."""

  sink: float | None
  form: support.Form
  plain: Callable[..., Any]  # `_softmax_linear.averages`, without kernels


class _Arrays(NamedTuple):
  """Arrays of the recurrence."""

  inputs: _softmax_state.Inputs  # q, logits, k and v; k may be None
  m: jax.Array  # [R, n] float32, a constant
  u: jax.Array  # [R, n] float32
  average: jax.Array  # [R, D, E] float32
  reset: jax.Array | None  # [R, T] bool, or None


class _Kept(NamedTuple):
  """Residuals of the gradient, besides the arguments."""

  a: jax.Array  # log-decays
  shared: jax.Array  # keys times shares
  u: jax.Array  # the last sum
  average: jax.Array  # the last average
  outer: _outer_gpu_channels_layout.Kept  # residuals of `outer_scan`


class _Results(NamedTuple):
  """Outputs, and the state after the last element."""

  o: jax.Array
  average: jax.Array
  m: jax.Array
  u: jax.Array


def scan(
  form: support.Form,
  inputs: _softmax_state.Inputs,
  m: jax.Array,
  u: jax.Array,
  average: jax.Array,
  reset: jax.Array | None,
  *,
  sink: float | None,
  plain: Callable[..., Any],
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Runs `softmax_outer_scan` by kernels.

  Args:
    form: see `support.form`.
    inputs: q (rows, time, d), logits and k (rows, time, n | d), where k may be
      None, and v (rows, time, e).
    m: (rows, n) largest logit before the first element.
    u: (rows, n) sum of weights.
    average: (rows, d, e).
    reset: (rows, time) bool, or None.
    sink: a logit that is always in the sums, or None.
    plain: the averages without kernels, for the derivative of the gradient.

  Returns:
    Outputs (rows, time, e), and average, m and u after the last element.

  Raises:
    NotImplementedError: if no kernel supports such dtypes or widths.
  """
  dtype = _softmax_state.output_dtype(inputs)
  _outer_gpu_channels_layout.check(dtype, *average.shape[1:])
  q, logits, k, v = inputs
  logits, m, u = _spread(q.shape[-1], logits, m, u)
  if logits.dtype != jnp.bfloat16:
    logits = logits.astype(jnp.float32)
  wide = (x.astype(jnp.float32) for x in (m, u, average))
  x = _Arrays(_softmax_state.Inputs(q, logits, k, v), *wide, reset)
  o, average, m, u = _scan(_Options(sink, form, plain), x)
  n = inputs.logits.shape[-1]
  return o, average, m[:, :n], u[:, :n]


def _spread(channels, *arrays):
  """Repeats arrays [..., n], unless no kernel block would have two copies."""
  n = arrays[0].shape[-1]
  if n == channels or n % _CHANNELS == 0:
    return arrays
  return tuple(_softmax_state.spread(x, channels) for x in arrays)


def _plain(options, x):
  """Computes the results by products without kernels."""
  x = x._replace(m=jax.lax.stop_gradient(x.m))
  how = {"sink": options.sink, "size": _CHUNK, "method": "chunked"}
  return _Results(*options.plain(*x, **how))


def _forward(options, x, _):
  """Returns the results and residuals; the kernels are the same."""
  plan, (_, logits, k, v) = _plan(options, x), x.inputs
  logits = _calls.padded(logits, 1, _CHUNK, _softmax_state.NEG)
  logits = _calls.padded(logits, 2, _CHANNELS, _softmax_state.NEG)
  m, u = (_calls.padded(z, 1, _CHANNELS) for z in (x.m, x.u))
  a, shared, m, u = _gpu_decay.forward(
    plan, logits, _padded(k), _keep(x), m, u, v.dtype
  )
  time, n = x.inputs.logits.shape[1:]
  a, shared = a[:, :time, :n], shared[:, :time, : x.average.shape[1]]
  m, u = m[:, :n], u[:, :n]
  o, average, outer = _outer_gpu_channels_layout.forward(
    options.form, _CHUNK, _outer_inputs(x, a, shared), True
  )
  results = _Results(o[:, :, 0], average[:, 0], m, u)
  return results, _Kept(a, shared, u, results.average, outer)


def _backward(options, x, saved, cotangents):
  """Returns the cotangents of all arrays but the flags."""
  g, d_average, _, d_u = cotangents
  if saved.outer.undefined is not None:
    d_average = jnp.where(saved.outer.undefined[:, 0], 0, d_average)
  outer = _outer_gpu_channels_layout.backward(
    options.form,
    _CHUNK,
    _outer_inputs(x, saved.a, saved.shared),
    saved.outer,
    g[:, :, None],
    d_average[:, None],
    of_decays=False,
  )
  dq, d_shared, dv = (z[:, :, 0] for z in (outer.q, outer.k, outer.v))
  d_init, (q, logits, k, _) = outer.init[:, 0], x.inputs
  d_last = _defined(x, saved.u) * d_u - _by_logits(x, saved.average, d_average)
  d_logits, dk, d_first = _gpu_decay.backward(
    _plan(options, x),
    *(_padded(z) for z in (q, dq, k, d_shared, saved.a)),
    _keep(x),
    _calls.padded(d_last, 1, _CHANNELS),
    logits.dtype,
  )
  time, n = logits.shape[1:]
  d_logits, d_first = d_logits[:, :time, :n], d_first[:, :n]
  dk = None if dk is None else dk[:, :time, : k.shape[2]]
  d_first += _by_logits(x, x.average, d_init)
  d_u = _softmax_state.divide(d_first, x.u)
  d_inputs = _softmax_state.Inputs(dq, d_logits, dk, dv)
  return _Arrays(d_inputs, jnp.zeros_like(x.m), d_u, d_init, None)


def _plan(options, x):
  copies = x.average.shape[1] // x.m.shape[1]
  return _gpu_decay.Plan(copies, options.sink, options.form)


def _padded(x):
  """Pads to whole chunks and blocks of channels."""
  if x is None:
    return None
  return _calls.padded(_calls.padded(x, 1, _CHUNK), 2, _CHANNELS)


def _keep(x):
  """Returns the flags in the kernels' format."""
  if x.reset is None:
    return None
  return _calls.padded((~x.reset).astype(jnp.int32), 1, _CHUNK, 1)


def _outer_inputs(x, a, shared):
  """Returns the inputs of `outer_scan_heads` for one head."""
  elements = (z[:, :, None] for z in (x.inputs.q, shared, x.inputs.v, a))
  return _outer_products.Inputs(*elements, x.average[:, None], x.reset)


def _by_logits(x, state, d_state):
  """Returns the cotangent of the logarithm of a state's factor, [R, n]."""
  slopes = jnp.sum(_defined(x, state) * d_state, axis=2)
  n = x.m.shape[1]
  return slopes.reshape(slopes.shape[0], -1, n).sum(1)


def _defined(x, state):
  """Replaces undefined numbers by zeros, if they may have been forgotten."""
  return state if x.reset is None else _outer_products.clean(state)


_scan = _kept_vjp.differentiable(_forward, _backward, _plain)
