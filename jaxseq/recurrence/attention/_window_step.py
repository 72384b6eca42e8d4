"""Attention of one query to a cache, for `window_attention` on a CPU."""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.attention import _attention_parts
from jaxseq.recurrence.attention import _fades
from jaxseq.recurrence.attention import _window_blocks
from jaxseq.recurrence.shared import _contractions


def attend(
  q: jax.Array,
  first: tuple[jax.Array, jax.Array],
  rest: tuple[jax.Array, jax.Array],
  start: jax.Array,
  fades: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
  """Averages of values for the query of the last key."""
  # `fades` (*batch, n, heads) are added to the scores of the first key and the
  # others.
  arrays = q, *first, *rest
  wide = jnp.promote_types(q.dtype, jnp.float32)
  dtype = jnp.result_type(*arrays)
  if _contractions.operand_dtype(dtype, wide) == jnp.bfloat16:
    return _in_blocks(*arrays, start, fades)
  return lax.platform_dependent(
    *arrays, start, fades, cpu=_in_parts, default=_in_blocks
  )


def _in_blocks(q, first_key, first_value, keys, values, start, fades=None):
  """Attention by `_window_blocks`: the definition."""
  k = jnp.concatenate([first_key, keys], axis=-3)
  v = jnp.concatenate([first_value, values], axis=-3)
  fading = None
  if fades is not None:
    lost = jnp.concatenate(fades, axis=-2)
    fading = _fades.Fading(jnp.zeros_like(lost), lost)
  window = keys.shape[-3]
  return _window_blocks.attend(q, k, v, start, window, fading=fading)


@jax.custom_vjp
def _in_parts(q, first_key, first_value, keys, values, start, fades=None):
  """Computes `_in_blocks` without copies of the keys and values."""
  begins = (start == 0)[..., None]
  seen = begins[..., None]
  first = (jnp.where(seen, x, 0) for x in (first_key, first_value))
  visible = 1 + jnp.arange(keys.shape[-3]) >= start[..., None]
  parts = [(*first, begins), (keys, values, visible)]
  if fades is not None:
    parts = [(*part, fade) for part, fade in zip(parts, fades)]
  return _attention_parts.attend(q, parts).astype(q.dtype)


def _forward(*arguments):
  return _in_parts(*arguments), arguments


def _backward(arguments, d_o):
  *operands, start, fades = arguments
  _, pull = jax.vjp(
    lambda *args: _in_blocks(*args[:-1], start, args[-1]), *operands, fades
  )
  *grads, d_fades = pull(d_o)
  return *grads, None, d_fades


_in_parts.defvjp(_forward, _backward)
