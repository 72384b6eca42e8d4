"""Truncation of logits by top-k, top-p and min-p."""

import jax
from jax import lax
import jax.numpy as jnp

# So many logits are sorted first, and all only if these do not suffice: on a
# core of a CPU, of 128,000 logits, the first take 1 ms and all 33.
_FIRST = 1024


def truncated(logits: jax.Array, controls: object) -> jax.Array:
  """Sets logits that top-k, top-p and min-p exclude to -inf.

  Args:
    logits: (*batch, vocab).
    controls: the `Controls` of the rows.

  Returns:
    (*batch, vocab), the same for a row whatever the other rows are.
  """
  if logits.shape[-1] <= 2 * _FIRST:
    ranked = jnp.sort(logits, axis=-1, descending=True)
    least, _ = _least(ranked, logits, controls)
  else:
    ranked, _ = lax.top_k(logits, _FIRST)
    # Otherwise XLA makes a sort of all logits of it, to take slices of that.
    ranked = lax.optimization_barrier(ranked)
    least, is_enough = _least(ranked, logits, controls)

    def sorted_rows(logits):
      ranked = jnp.sort(logits, axis=-1, descending=True)
      return jnp.where(is_enough, least, _least(ranked, logits, controls)[0])

    least = lax.cond(
      jnp.all(is_enough), lambda unused: least, sorted_rows, logits
    )
  return jnp.where(logits < least, -jnp.inf, logits)


def _least(ranked, logits, controls):
  """Least kept logits, and whether `ranked`, the largest, tell them."""
  dtype, count, size = logits.dtype, ranked.shape[-1], logits.shape[-1]
  top_k = jnp.broadcast_to(controls.top_k, logits.shape[:-1])[..., None]
  last = jnp.minimum(top_k, count) - 1
  # Equal logits are all kept.
  kth = jnp.take_along_axis(ranked, last, axis=-1)
  kth = jnp.where(top_k < size, kth, -jnp.inf)
  total = jax.nn.logsumexp(
    jnp.where(logits < kth, -jnp.inf, logits), axis=-1, keepdims=True
  )
  kept = jnp.where(ranked < kth, -jnp.inf, ranked)
  probability = jnp.exp(kept - total)
  through = jnp.cumsum(probability, axis=-1)
  top_p = jnp.asarray(controls.top_p, dtype)[..., None]
  least = jnp.min(
    jnp.where(through - probability < top_p, kept, jnp.inf),
    axis=-1,
    keepdims=True,
  )
  least = jnp.where(top_p < jnp.inf, least, kth)
  share = jnp.log(jnp.asarray(controls.min_p, dtype))[..., None]
  least = jnp.maximum(jnp.maximum(kth, least), ranked[..., :1] + share)
  ends = (top_p == jnp.inf) | (through[..., -1:] >= top_p)
  return least, (top_k <= count) | ((top_k >= size) & ends)
