"""`delta_scan` by kernels, with its derivatives."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence.delta import _delta_products
from jaxseq.recurrence.delta import _delta_tpu_layout
from jaxseq.recurrence.platform import _kept_vjp
from jaxseq.recurrence.platform import support

# `delta_scan`, without kernels.
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
  read: jax.Array,
  decay: jax.Array | None,
  init: jax.Array,
  reset: jax.Array | None,
  *,
  form: support.Form,
  chunk_size: int,
  plain: Plain,
) -> tuple[jax.Array, jax.Array]:
  """Runs the recurrence of `delta_scan` over time."""
  out = jnp.result_type(q, k, v)
  dtype = jnp.bfloat16 if out == jnp.bfloat16 else jnp.float32
  q, k, v, read = (x.astype(dtype) for x in (q, k, v, read))
  if decay is not None:
    decay = decay.astype(jnp.float32)
    if reset is not None and decay.shape[-1] == 1:
      # Of more the kernels themselves do not read what stands at a reset.
      decay = jnp.where(reset[..., None], 0, decay)
  init = init.astype(jnp.float32)
  x = _delta_products.Inputs(q, k, v, read, decay, init, reset)
  o, final = _scan(_Options(form, chunk_size, plain), x)
  return o.astype(out), final


@functools.partial(jax.jit, static_argnums=(0,))
def _gradient(options, x, residuals, cotangents):
  """Cotangents of the inputs."""
  form, chunk_size, _ = options
  if form.chip == "gpu":
    from jaxseq.recurrence.delta import _delta_gpu_layout

    return _delta_gpu_layout.backward(form, x, residuals, *cotangents)
  return _delta_tpu_layout.backward(form, chunk_size, x, residuals, *cotangents)


def _plain_gradient(options, x, cotangents):
  """Cotangents of the inputs, by the products without kernels."""

  def run(*floats):
    how = {"method": "chunked", "chunk_size": options.chunk_size}
    return options.plain(*floats, reset=x.reset, **how)

  floats = jax.vjp(run, *x[:6])[1](cotangents)
  return _delta_products.Inputs(*floats, None)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _forward(options, x, keeps):
  """Outputs with the last state, and if asked what the gradient needs."""
  form, chunk_size, _ = options
  if form.chip == "gpu":
    from jaxseq.recurrence.delta import _delta_gpu_layout

    o, final, residuals = _delta_gpu_layout.forward(form, x, keeps)
  else:
    o, final, residuals = _delta_tpu_layout.forward(form, chunk_size, x, keeps)
  return (o, final), residuals


_scan = _kept_vjp.differentiable(_forward, _gradient, _plain_gradient)
