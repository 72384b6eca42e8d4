"""`delta_scan` by kernels, with its derivatives."""

import jax
import jax.numpy as jnp

from jaxseq.recurrence.delta import _delta_products
from jaxseq.recurrence.platform import _kept_vjp


def scan(
  options: _kept_vjp.Options,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  read: jax.Array,
  decay: jax.Array | None,
  init: jax.Array,
  reset: jax.Array | None,
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
  o, final = _scan(options, x)
  return o.astype(out), final


def _layout(form, _):
  """The module of what the kernels for a chip consume."""
  if form.chip == "tpu":
    from jaxseq.recurrence.delta import _delta_tpu_layout as layout
  else:
    from jaxseq.recurrence.delta import _delta_gpu_layout as layout
  return layout


_scan = _kept_vjp.of_matrix_states(_layout)
