"""`outer_scan_heads` by kernels, with its derivatives."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence.outer import _outer_products
from jaxseq.recurrence.outer import _outer_tpu_layout
from jaxseq.recurrence.platform import _kept_vjp
from jaxseq.recurrence.platform import support

# `outer_scan_heads`, without kernels.
Plain = Callable[..., tuple[jax.Array, jax.Array]]


class _Options(NamedTuple):
  """Static."""

  form: support.Form
  chunk_size: int
  plain: Plain


def scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None,
  init: jax.Array,
  reset: jax.Array | None,
  *,
  form: support.Form,
  chunk_size: int,
  plain: Plain,
) -> tuple[jax.Array, jax.Array]:
  """Runs the recurrence of `outer_scan_heads` over time."""
  out = jnp.result_type(q, k, v)
  dtype = jnp.bfloat16 if out == jnp.bfloat16 else jnp.float32
  q, k, v = (x.astype(dtype) for x in (q, k, v))
  if decay is not None and decay.dtype != jnp.bfloat16:
    decay = decay.astype(jnp.float32)
  init = init.astype(jnp.float32)
  options = _Options(form, chunk_size, plain)
  o, final = _scan(options, _outer_products.Inputs(q, k, v, decay, init, reset))
  return o.astype(out), final


@functools.partial(jax.jit, static_argnums=(0,))
def _gradient(options, x, entering, cotangents):
  """Cotangents of the inputs."""
  if options.form.chip == "gpu":
    return _layout_on_gpu(x).backward(options.form, x, entering, *cotangents)
  return _outer_tpu_layout.backward(
    options.form, options.chunk_size, x, entering, *cotangents
  )


def _plain_gradient(options, x, cotangents):
  """Cotangents of the inputs, by the products without kernels."""

  def run(*floats):
    how = {"method": "chunked", "chunk_size": options.chunk_size}
    return options.plain(*floats, reset=x.reset, **how)

  floats = jax.vjp(run, *x[:5])[1](cotangents)
  return _outer_products.Inputs(*floats, None)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _forward(options, x, keeps):
  """Outputs with the last state, and if asked those that enter the chunks."""
  form, chunk_size, _ = options
  if form.chip == "gpu":
    o, final, residuals = _layout_on_gpu(x).forward(form, x, keeps)
  else:
    o, final, residuals = _outer_tpu_layout.forward(form, chunk_size, x, keeps)
  return (o, final), residuals


def _layout_on_gpu(x):
  """The module of what the kernels for such decays consume."""
  if x.decay is not None and x.decay.shape[-1] > 1:
    from jaxseq.recurrence.outer import _outer_gpu_channels_layout as layout
  else:
    from jaxseq.recurrence.outer import _outer_gpu_layout as layout
  return layout


_scan = _kept_vjp.differentiable(_forward, _gradient, _plain_gradient)
