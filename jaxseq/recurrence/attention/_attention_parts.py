"""Softmax attention to keys that lie in several arrays."""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp

# Keys (*batch, n, groups, D), values (*batch, n, groups, E), a mask of the keys
# that each query sees, broadcastable to (*batch, queries, n), and an optional
# bias of the scores, (*batch, n, heads).
Part = (
  tuple[jax.Array, jax.Array, jax.Array]
  | tuple[jax.Array, jax.Array, jax.Array, jax.Array]
)


def attend(q: jax.Array | list[jax.Array], parts: list[Part]) -> jax.Array:
  """Averages (*batch, queries, heads, E) of the values of all parts.

  Parts whose keys have their own channels come with their own queries.
  """
  # The parts are not concatenated. A query that sees an undefined number gives
  # NaN; numbers that it does not see have to be finite.
  queries_of_parts = q if isinstance(q, list) else [q] * len(parts)
  *batch, queries, heads, _ = queries_of_parts[0].shape
  groups = parts[0][0].shape[-2]
  wide = jnp.promote_types(queries_of_parts[0].dtype, jnp.float32)
  product = functools.partial(
    jnp.einsum, precision="highest", preferred_element_type=wide
  )
  # Queries that share keys side by side: one matrix for each row and group.
  shape = *batch, groups, heads // groups, queries
  scores, defined = [], []
  for q, (k, _, visible, *bias) in zip(queries_of_parts, parts, strict=True):
    width = q.shape[-1]
    q = jnp.moveaxis(q, -2, -3).reshape(*batch, groups, -1, width)
    # XLA on CPUs would recompute the keys for each query.
    k = lax.optimization_barrier(k)
    # XLA on CPUs transposes the second factor: keys, or one query of each head.
    if queries == 1:
      logits = product("...jgd,...gid->...gji", k, q).swapaxes(-1, -2)
    else:
      logits = product("...gid,...jgd->...gij", q, k)
    logits = (logits / math.sqrt(width)).reshape(*shape, -1)
    for added in bias:
      added = added.swapaxes(-1, -2).reshape(*shape[:-1], 1, -1)
      logits = logits + added.astype(wide)
    visible = visible[..., None, None, :, :]
    # A key that is not finite has no finite score.
    finite = jnp.isfinite(logits) | ~visible
    defined.append(jnp.all(finite, axis=(-4, -3, -1)))
    scores.append(jnp.where(visible, logits, -jnp.inf))
  tops = [jnp.max(logits, axis=-1, keepdims=True) for logits in scores]
  top = lax.stop_gradient(functools.reduce(jnp.maximum, tops))
  o, total = 0, 0
  for logits, (_, v, *_) in zip(scores, parts):
    weights = jnp.exp(logits - top)
    total = total + jnp.sum(weights, axis=-1, keepdims=True)
    weights = weights.reshape(*batch, groups, -1, logits.shape[-1])
    o = o + product("...gij,...jgd->...gid", weights.astype(v.dtype), v)
  o = o.reshape(*shape, -1) / total
  defined.append(jnp.all(jnp.isfinite(o), axis=(-4, -3, -1)))
  sound = functools.reduce(jnp.logical_and, defined)[..., None, None, :, None]
  o = jnp.where(sound, o, jnp.nan).reshape(*batch, heads, queries, -1)
  return jnp.moveaxis(o, -3, -2)
