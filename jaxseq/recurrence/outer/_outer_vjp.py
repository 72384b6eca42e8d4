"""`outer_scan_heads` by kernels, with its derivatives."""

import jax
import jax.numpy as jnp

from jaxseq.recurrence.outer import _outer_products
from jaxseq.recurrence.platform import _kept_vjp


def scan(
  options: _kept_vjp.Options,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None,
  init: jax.Array,
  reset: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Runs the recurrence of `outer_scan_heads` over time."""
  out = jnp.result_type(q, k, v)
  dtype = jnp.bfloat16 if out == jnp.bfloat16 else jnp.float32
  q, k, v = (x.astype(dtype) for x in (q, k, v))
  if decay is not None and decay.dtype != jnp.bfloat16:
    decay = decay.astype(jnp.float32)
  if decay is not None and reset is not None and decay.shape[-1] == 1:
    # That of an episode's first element is not read.
    decay = jnp.where(reset[..., None, None], 0, decay)
  init = init.astype(jnp.float32)
  o, final = _scan(options, _outer_products.Inputs(q, k, v, decay, init, reset))
  return o.astype(out), final


def _layout(form, x):
  """The module of what the kernels for such decays consume."""
  if form.chip == "tpu":
    from jaxseq.recurrence.outer import _outer_tpu_layout as layout
  elif x.decay is not None and x.decay.shape[-1] > 1:
    from jaxseq.recurrence.outer import _outer_gpu_channels_layout as layout
  else:
    from jaxseq.recurrence.outer import _outer_gpu_layout as layout
  return layout


_scan = _kept_vjp.of_matrix_states(_layout)
