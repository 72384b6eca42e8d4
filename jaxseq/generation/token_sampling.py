"""Draws of tokens from logits."""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _validate


def sample(
  key: jax.Array,
  logits: jax.Array,
  *,
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
) -> jax.Array:
  """Draws one token from each row of logits.

  Args:
    key: random key.
    logits: (*batch, vocab).
    temperature: divides the logits; 0 takes the most probable token.
    top_k: only the k most probable tokens are drawn; all if None.
    top_p: only the smallest set of the most probable tokens whose probabilities
      sum to at least p is drawn from (arXiv:1904.09751); all if None.

  Returns:
    (*batch,) int32.

  Raises:
    ValueError: if an option is out of range.
  """
  _validate.number("temperature", temperature, 0)
  if top_k is not None:
    _validate.integer("top_k", top_k, 1, logits.shape[-1])
  if top_p is not None:
    _validate.fraction("top_p", top_p)
  if temperature == 0:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
  logits = logits / temperature
  if top_k is not None:
    least = lax.top_k(logits, top_k)[0][..., -1:]
    logits = jnp.where(logits < least, -jnp.inf, logits)
  if top_p is not None:
    ranked = jnp.sort(logits, axis=-1, descending=True)
    before = jnp.cumsum(jax.nn.softmax(ranked), axis=-1) - jax.nn.softmax(
      ranked
    )
    least = jnp.min(
      jnp.where(before < top_p, ranked, jnp.inf), axis=-1, keepdims=True
    )
    logits = jnp.where(logits < least, -jnp.inf, logits)
  return jax.random.categorical(key, logits, axis=-1).astype(jnp.int32)
