"""Distances in a tree of clusters, as a bias of attention to all."""

import jax
import jax.numpy as jnp

from jaxseq.mixers import contract


def check(config, clusters, x):
  """Checks the clusters of elements against the option and x."""
  expected = *x.shape[:-1], config.tree_levels
  if clusters is None or jnp.shape(clusters) != expected:
    got = None if clusters is None else f"shape {jnp.shape(clusters)}"
    raise contract.error("clusters", got, f"shape {expected}")


def bias(params, clusters):
  """Returns the bias of the scores, (*batch, heads, time, time).

  Args:
    params: with tree_bias (heads, levels + 1), one entry for the first level at
      which two elements share a cluster; the last one for elements that never
      do.
    clusters: (*batch, time, levels) integers.
  """
  same = clusters[..., :, None, :] == clusters[..., None, :, :]
  levels = clusters.shape[-1]
  first = jnp.where(same.any(-1), jnp.argmax(same, axis=-1), levels)
  return jnp.moveaxis(params["tree_bias"][:, first], 0, -3)


def attend(q, k, v, bias, reset):
  """Attends to all elements of the episode, with a bias of the scores.

  Args:
    q: (*batch, heads, time, d) queries; k and v have this shape, with heads or
      fewer.
    k: see q.
    v: see q.
    bias: (*batch, heads, time, time).
    reset: (*batch, time) bool, or None.

  Returns:
    Averages of q's shape.
  """
  wide = contract.wide_dtype(q)
  k, v = (jnp.repeat(z, q.shape[-3] // z.shape[-3], axis=-3) for z in (k, v))
  scores = jnp.einsum("...td,...sd->...ts", q, k).astype(wide)
  scores = scores * q.shape[-1] ** -0.5 + bias.astype(wide)
  if reset is not None:
    episode = jnp.cumsum(reset, axis=-1)[..., None, :, None]
    scores = jnp.where(
      episode == jnp.moveaxis(episode, -1, -2), scores, -jnp.inf
    )
  return jnp.einsum(
    "...ts,...sd->...td", jax.nn.softmax(scores).astype(v.dtype), v
  )
