"""`mlstm_scan` by kernels for Hopper, with its derivatives."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence.mlstm import _mlstm_chunk
from jaxseq.recurrence.mlstm import _mlstm_gpu_layout
from jaxseq.recurrence.outer import _outer_gpu
from jaxseq.recurrence.outer import outer
from jaxseq.recurrence.platform import _kept_vjp
from jaxseq.recurrence.platform import support

Inputs = _mlstm_gpu_layout.Inputs
Results = _mlstm_gpu_layout.Results


class _Options(NamedTuple):
  """Static."""

  form: support.Form


def scan(x: Inputs, *, form: support.Form) -> Results:
  """Runs the recurrence of `mlstm_scan`, relative to the largest weights."""
  return _scan(_Options(form), x)


# Compiled functions, so that layers of one shape share what is slow to lower.
@functools.partial(jax.jit, static_argnums=(0, 2))
def _forward(options, x, keeps):
  return _mlstm_gpu_layout.forward(options.form, x, keeps)


@functools.partial(jax.jit, static_argnums=(0,))
def _gradient(options, x, residuals, cotangents):
  return _mlstm_gpu_layout.backward(options.form, x, residuals, cotangents)


def _plain_gradient(options, x, cotangents):
  """Cotangents of the inputs, by the products without kernels."""
  del options

  def run(q, k, v, log_weight, decay, C, n):
    weighted = k.astype(log_weight.dtype) * jnp.exp(log_weight)[..., None]
    o, Cn = outer.outer_scan_heads(
      q,
      weighted.astype(k.dtype),
      _mlstm_chunk.beside_ones(v),
      decay[..., None],
      jnp.concatenate([C, n[..., None]], axis=-1),
      reset=x.reset,
      chunk_size=_outer_gpu.CHUNK,
      method="chunked",
    )
    total = o[..., -1].astype(log_weight.dtype)
    return Results(o[..., :-1], total, Cn[..., :-1], Cn[..., -1])

  return Inputs(*jax.vjp(run, *x[:-1])[1](cotangents), None)


_scan = _kept_vjp.differentiable(_forward, _gradient, _plain_gradient)
