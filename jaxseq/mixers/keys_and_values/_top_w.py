"""The published form of routing attention, for whole sequences alone."""

from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq.mixers.keys_and_values import _centroids


def layer_norm(x: jax.Array, eps: float = 1e-6) -> jax.Array:
  """Normalizes over the last axis, without factors: length sqrt(d)."""
  x = x - jnp.mean(x, axis=-1, keepdims=True)
  return x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)


def top_w(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  centroids: jax.Array,
  window: int,
  *,
  causal: bool = True,
  shared: bool = False,
  norm: Literal["layer", "unit"] = "layer",
  memory: tuple[jax.Array, jax.Array] | None = None,
  mask: jax.Array | None = None,
  damping: float = 0.0,
) -> jax.Array:
  """Lets the best elements of each cluster attend to each other.

  Each centroid takes the `window` queries, and the `window` keys, of the
  largest products with it; these queries attend to these keys. What a query
  gets from several centroids is averaged, and 0 if it is taken by none. It is
  no causal function, whatever `causal` says: later elements push earlier ones
  out of a cluster. In a causal one no query attends to a later key.

  Roy et al., arXiv:2003.05997: `norm="layer"` is the authors' code, with
  damping=0.01; "unit" is lucidrains/routing-transformer, with damping=1e-5.

  Args:
    q: (*batch, heads, time, d) queries.
    k: likewise, keys; of no consequence if `shared`.
    v: likewise, values.
    centroids: (heads, clusters, d).
    window: number of elements that a centroid takes, at most time.
    causal: whether queries attend to no later keys.
    shared: whether queries are the keys. With "unit" an element then attends to
      itself only where there is nothing else.
    norm: "layer", layer norms of queries and keys, and logits without a scale;
      or "unit", where vectors of length 1 choose the clusters, but queries and
      keys as they came attend, with 1 / sqrt(d); shared keys have length 1.
    memory: a key and a value (heads, clusters, n, d) that all queries of a
      cluster attend to, or None.
    mask: (*batch, time) bool, False for padding, which attends to memories
      alone, and which nothing attends to; or None.
    damping: added to the number of centroids that took a query, where its
      outputs are averaged.

  Returns:
    (*batch, heads, time, d).

  Raises:
    ValueError: if shapes or sizes do not fit the above.
  """
  *batch, heads, time, width = _validate.shape(
    "q", q, ("*batch", "heads", "time", "d")
  )
  _validate.shape("k", k, q.shape)
  _validate.shape("v", v, q.shape)
  _validate.shape("centroids", centroids, (heads, "clusters", width))
  _validate.choice("norm", norm, ("layer", "unit"))
  if _validate.integer("window", window, 1) > time:
    raise _validate.error("window", window, f"at most {time}, that of time")
  if norm == "layer":
    q = layer_norm(q)
    k = q if shared else layer_norm(k)
    routes, scale = (q, k), 1.0
  else:
    k = _centroids.unit(q) if shared else k
    routes, scale = (_centroids.unit(q), _centroids.unit(k)), width**-0.5
  taken = [_taken(x, centroids, window) for x in routes]

  def pick(x, index):
    """(*batch, heads, clusters, window, d) of (*batch, heads, time, d)."""
    x = jnp.broadcast_to(x[..., None, :, :], (*index.shape[:-1], *x.shape[-2:]))
    return jnp.take_along_axis(x, index[..., None], axis=-2)

  of_queries, of_keys = taken
  values = pick(v, of_keys)
  queries = pick(q, of_queries)
  scores = jnp.einsum("...id,...jd->...ij", queries, pick(k, of_keys)) * scale
  seen = jnp.ones(scores.shape, bool)
  if causal:
    seen = of_queries[..., :, None] >= of_keys[..., None, :]
  if mask is not None:
    _validate.shape("mask", mask, (*batch, time))
    flags = jnp.broadcast_to(mask[..., None, :, None], (*q.shape[:-1], 1))
    flags = [pick(flags, index)[..., 0] for index in taken]
    seen = seen & flags[0][..., :, None] & flags[1][..., None, :]
  scores = jnp.where(seen, scores, -jnp.inf)
  if shared and norm == "unit":
    itself = of_queries[..., :, None] == of_keys[..., None, :]
    scores = jnp.where(itself, _TO_ITSELF, scores)
  if memory is not None:
    keys, more = memory
    _validate.shape("memory[0]", keys, (*centroids.shape[:2], "n", width))
    _validate.shape("memory[1]", more, keys.shape)
    of_memory = jnp.einsum("...id,...jd->...ij", queries, keys) * scale
    scores = jnp.concatenate([of_memory, scores], axis=-1)
    more = jnp.broadcast_to(more, (*values.shape[:-2], *more.shape[-2:]))
    values = jnp.concatenate([more, values], axis=-2)
  o = jnp.einsum("...ij,...jd->...id", _softmax(scores), values)
  # Back to their places, and how often each was taken.
  o = jnp.concatenate([o, jnp.ones_like(o[..., :1])], axis=-1)
  flat = of_queries.reshape(-1, of_queries.shape[-2] * window)
  rows = jnp.arange(len(flat))[:, None]
  total = jnp.zeros((len(flat), time, width + 1), o.dtype)
  total = total.at[rows, flat].add(o.reshape(*flat.shape, -1))
  total = total.reshape(*q.shape[:-1], -1)
  count = total[..., -1:]
  divisor = count + damping if damping else jnp.maximum(count, 1)
  return total[..., :-1] / divisor


def _taken(x, centroids, window):
  """Places (*batch, heads, clusters, window) of the best, in order of time."""
  scores = jnp.einsum("...htd,hcd->...hct", x, centroids)
  return jnp.sort(lax.top_k(lax.stop_gradient(scores), window)[1], axis=-1)


def _softmax(scores):
  """Weights; zeros, and a gradient of zeros, where nothing is seen."""
  some = jnp.any(scores > -jnp.inf, axis=-1, keepdims=True)
  return jnp.where(some, jax.nn.softmax(jnp.where(some, scores, 0)), 0)


# The logit of an element with itself, where it is to attend to others.
_TO_ITSELF = -5e4
