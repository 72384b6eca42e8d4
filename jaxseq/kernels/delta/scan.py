"""`delta_scan` by kernels, with its derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.kernels import _kept_vjp
from jaxseq.kernels.delta import _products
from jaxseq.recurrence.platform import support


def scan(
  form: support.Form,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  read: jax.Array,
  decay: jax.Array | None,
  init: jax.Array,
  reset: jax.Array | None,
  *,
  chunk_size: int,
  plain: Callable[..., Any],
) -> tuple[jax.Array, jax.Array]:
  """Runs `delta_scan` by kernels.

  Args:
    form: see `support.form`.
    q: (rows, time, dk) queries.
    k: (rows, time, dk) keys.
    v: (rows, time, dv) values.
    read: (rows, time, dk) keys that read the state.
    decay: (rows, time, dk | 1) log-decays, or None.
    init: (rows, dk, dv) state before the first element.
    reset: (rows, time) bool, or None.
    chunk_size: elements per chunk.
    plain: `delta_scan`, for the derivative of the gradient.

  Returns:
    Outputs like v in the common dtype of q, k and v, and the last state in
    float32.

  Raises:
    NotImplementedError: if no kernel supports such dtypes or widths.
  """
  out = jnp.result_type(q, k, v)
  dtype = jnp.bfloat16 if out == jnp.bfloat16 else jnp.float32
  q, k, v, read = (x.astype(dtype) for x in (q, k, v, read))
  if decay is not None:
    decay = decay.astype(jnp.float32)
    if reset is not None and decay.shape[-1] == 1:
      # Kernels with a decay for each key ignore decays at resets themselves.
      decay = jnp.where(reset[..., None], 0, decay)
  init = init.astype(jnp.float32)
  x = _products.Inputs(q, k, v, read, decay, init, reset)
  o, final = _scan(_kept_vjp.Options(form, chunk_size, plain), x)
  return o.astype(out), final


def _layout(form, _):
  """Returns the module of a chip's kernels and their layout."""
  if form.chip == "tpu":
    from jaxseq.kernels.delta import _tpu_layout as layout
  else:
    from jaxseq.kernels.delta import _gpu_layout as layout
  return layout


_scan = _kept_vjp.of_matrix_states(_layout)
