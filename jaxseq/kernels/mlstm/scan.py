"""`mlstm_scan` by kernels for Hopper, with its derivatives."""

import jax
import jax.numpy as jnp

from jaxseq.kernels import _kept_vjp
from jaxseq.kernels.mlstm import _gpu_layout
from jaxseq.kernels.outer import _gpu as _outer_gpu
from jaxseq.recurrence.mlstm import _mlstm_chunk
from jaxseq.recurrence.outer import outer
from jaxseq.recurrence.platform import support


def scan(
  form: support.Form,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  log_weight: jax.Array,
  decay: jax.Array,
  C: jax.Array,
  n: jax.Array,
  reset: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Runs `mlstm_scan`, relative to the largest weights, by kernels.

  Args:
    form: see `support.form`.
    q: (rows, time, heads, dk) queries, bfloat16.
    k: (rows, time, heads, dk) keys.
    v: (rows, time, heads, dv) values.
    log_weight: (rows, time, heads) float32 log-weights of the keys, at most 0.
    decay: (rows, time, heads) float32 log-decays.
    C: (rows, heads, dk, dv) float32 state before the first element.
    n: (rows, heads, dk) float32 state of the column of ones.
    reset: (rows, time) bool, or None.

  Returns:
    Outputs q C like v, q n like `decay`, and C and n after the last element.

  Raises:
    NotImplementedError: if no kernel supports such dtypes or widths.
  """
  x = _gpu_layout.Inputs(q, k, v, log_weight, decay, C, n, reset)
  return _scan(form, x)


def _plain(_, x):
  """Computes the results by products without kernels."""
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
  return _gpu_layout.Results(o[..., :-1], total, Cn[..., :-1], Cn[..., -1])


_scan = _kept_vjp.differentiable(
  _gpu_layout.forward, _gpu_layout.backward, _plain
)
