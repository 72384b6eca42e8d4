"""`mlstm_scan` by kernels for Hopper, with its derivatives."""

import jax.numpy as jnp

from jaxseq.recurrence.mlstm import _mlstm_chunk
from jaxseq.recurrence.mlstm import _mlstm_gpu_layout
from jaxseq.recurrence.outer import _outer_gpu
from jaxseq.recurrence.outer import outer
from jaxseq.recurrence.platform import _kept_vjp

Inputs = _mlstm_gpu_layout.Inputs
Results = _mlstm_gpu_layout.Results


def _plain(_, x):
  """The results by the products without kernels."""
  weighted = x.k.astype(x.log_weight.dtype) * jnp.exp(x.log_weight)[..., None]
  o, Cn = outer.outer_scan_heads(
    x.q,
    weighted.astype(x.k.dtype),
    _mlstm_chunk.beside_ones(x.v),
    x.decay[..., None],
    jnp.concatenate([x.C, x.n[..., None]], axis=-1),
    reset=x.reset,
    chunk_size=_outer_gpu.CHUNK,
    method="chunked",
  )
  total = o[..., -1].astype(x.log_weight.dtype)
  return Results(o[..., :-1], total, Cn[..., :-1], Cn[..., -1])


# `scan(form, x)` of `Inputs`, relative to the largest weights: `Results`.
scan = _kept_vjp.differentiable(
  _mlstm_gpu_layout.forward, _mlstm_gpu_layout.backward, _plain
)
