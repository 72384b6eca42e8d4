"""`outer_scan_heads` by kernels, with its derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.kernels import _kept_vjp
from jaxseq.kernels.outer import _products
from jaxseq.recurrence.platform import support


def scan(
  form: support.Form,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None,
  init: jax.Array,
  reset: jax.Array | None,
  *,
  chunk_size: int,
  plain: Callable[..., Any],
) -> tuple[jax.Array, jax.Array]:
  """Runs `outer_scan_heads` by kernels.

  Args:
    form: see `support.form`.
    q: (rows, time, groups, dk) queries.
    k: (rows, time, groups, dk) keys.
    v: (rows, time, heads, dv) values.
    decay: (rows, time, heads, dk | 1) log-decays, or None.
    init: (rows, heads, dk, dv) state before the first element.
    reset: (rows, time) bool, or None.
    chunk_size: elements per chunk, on TPUs.
    plain: `outer_scan_heads`, for the derivative of the gradient.

  Returns:
    Outputs like v in the common dtype of q, k and v, and the last state in
    float32.

  Raises:
    NotImplementedError: if no kernel supports such dtypes or widths.
  """
  out = jnp.result_type(q, k, v)
  dtype = jnp.bfloat16 if out == jnp.bfloat16 else jnp.float32
  q, k, v = (x.astype(dtype) for x in (q, k, v))
  if decay is not None and decay.dtype != jnp.bfloat16:
    decay = decay.astype(jnp.float32)
  if decay is not None and reset is not None and decay.shape[-1] == 1:
    # The decay of an episode's first element is ignored.
    decay = jnp.where(reset[..., None, None], 0, decay)
  init = init.astype(jnp.float32)
  options = _kept_vjp.Options(form, chunk_size, plain)
  o, final = _scan(options, _products.Inputs(q, k, v, decay, init, reset))
  return o.astype(out), final


def _layout(form, x):
  """Returns the layout module for a chip and such decays."""
  if form.chip == "tpu":
    from jaxseq.kernels.outer import _tpu_layout as layout
  elif x.decay is not None and x.decay.shape[-1] > 1:
    from jaxseq.kernels.outer import _gpu_channels_layout as layout
  else:
    from jaxseq.kernels.outer import _gpu_layout as layout
  return layout


_scan = _kept_vjp.of_matrix_states(_layout)
