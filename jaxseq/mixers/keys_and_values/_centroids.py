"""Centroids of clusters that follow their elements by running means."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate


class Averages(NamedTuple):
  """Running means of the elements in each cluster.

  Attributes:
    counts: (heads, clusters), elements in a batch.
    sums: (heads, clusters, d), their sum.
  """

  counts: jax.Array
  sums: jax.Array


def initial_averages(centroids: jax.Array, elements: float) -> Averages:
  """Returns running means with `elements` spread evenly over all clusters."""
  # With counts from 0 the first update would divide by almost nothing, and move
  # the centroids (heads, clusters, d) far away.
  counts = jnp.full(centroids.shape[:-1], elements / centroids.shape[-2])
  counts = counts.astype(centroids.dtype)
  return Averages(counts, centroids * counts[..., None])


def running_means(
  averages: Averages,
  counts: jax.Array,
  sums: jax.Array,
  decay: float = 0.999,
  eps: float = 1e-5,
) -> tuple[Averages, jax.Array]:
  """Moves centroids towards the elements of a batch, as the authors' code does.

  Args:
    averages: running means so far.
    counts: (heads, clusters), elements of the batch in each cluster.
    sums: (heads, clusters, d), the sums of these.
    decay: share of the previous means that remains.
    eps: added to each cluster's count, without a change of the total, so that
      no empty cluster divides by zero.

  Returns:
    The running means, and the centroids (heads, clusters, d).

  Raises:
    ValueError: if decay is not a number from 0 to 1.
  """
  validate.number("decay", decay, 0, 1)
  averages = Averages(
    decay * averages.counts + (1 - decay) * counts,
    decay * averages.sums + (1 - decay) * sums,
  )
  total = jnp.sum(averages.counts, axis=-1, keepdims=True)
  clusters = averages.counts.shape[-1]
  smooth = (averages.counts + eps) / (total + clusters * eps) * total
  return averages, averages.sums / smooth[..., None]


def unit(x: jax.Array) -> jax.Array:
  """Scales vectors to length 1; zero vectors stay."""
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.where(square > 0, square, 1))
