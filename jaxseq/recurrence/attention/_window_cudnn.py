"""Attention to a window on a GPU: cuDNN's, of one episode, through `jax.nn`."""

import jax


def attend(
  interpret: bool,
  differentiated: bool,
  window: int,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  start: jax.Array,
) -> jax.Array:
  """Averages like q, of 16 bits."""
  del differentiated, start  # All are 0.
  return jax.nn.dot_product_attention(
    q,
    k,
    v,
    is_causal=True,
    local_window_size=(window, 0),
    implementation="xla" if interpret else "cudnn",
  )
