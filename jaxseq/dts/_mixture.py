"""The mixture of Gaussians that stands for q(z), seen by one sample."""

from collections.abc import Sequence
import math

import jax
import jax.numpy as jnp

from jaxseq import _validate

Array = jax.Array
Groups = Sequence[Sequence[int]]

LOG_2PI = math.log(2 * math.pi)


def partition(groups: Groups, size: int) -> tuple[tuple[int, int], ...]:
  """Returns half-open ranges, checked to cover 0 .. size - 1 once each."""
  pairs = tuple((int(start), int(end)) for start, end in groups)
  covered = sorted(i for start, end in pairs for i in range(start, end))
  if any(a >= b for a, b in pairs) or covered != list(range(size)):
    raise _validate.error(
      "groups",
      pairs,
      f"ranges [start, end) that together cover the {size} coordinates once",
    )
  return pairs


def log_normal(z: Array, mu: Array | float, logvar: Array | float) -> Array:
  """Returns the log density of a Gaussian for each coordinate: (..., D)."""
  square = jnp.square(z - mu) * jnp.exp(-logvar)
  return -0.5 * (LOG_2PI + logvar + square)


def aggregate(
  z: Array,
  own: Array,
  mu: Array,
  logvar: Array,
  mask: Array | None,
  kind: str,
  size: int | None,
  groups: Groups | None,
) -> tuple[Array, Array, Array | None]:
  """Returns log q(z), log q(z_d) and log q(z_G) of one sample."""
  each = log_normal(z, mu, logvar)  # (R, D)
  log_weight = log_weights(own, mu.shape[0], mask, kind, size, mu.dtype)
  parts = [each.sum(axis=-1, keepdims=True), each]
  if groups is not None:
    parts.append(group_sums(each, groups))
  log_q = jax.nn.logsumexp(
    jnp.concatenate(parts, axis=-1) + log_weight[:, None], axis=0
  )
  end = 1 + mu.shape[-1]
  return log_q[0], log_q[1:end], None if groups is None else log_q[end:]


def log_weights(
  own: Array,
  rows: int,
  mask: Array | None,
  kind: str,
  size: int | None,
  dtype: jnp.dtype,
) -> Array:
  """Returns the logarithm of what each row weighs for one sample: (R,)."""
  count = rows if mask is None else jnp.maximum(mask.sum(), 1)
  count = jnp.asarray(count, dtype)
  if kind in ("exact", "batch"):
    log_weight = jnp.full(rows, -jnp.log(count))
  elif kind == "mws":
    log_weight = jnp.full(rows, -jnp.log(count * size))
  else:
    # Place among the rows that count; the last one is followed by the first.
    rank = jnp.arange(rows) if mask is None else jnp.cumsum(mask) - 1
    follows = rank == (rank[own] + 1) % count.astype(rank.dtype)
    others = jnp.maximum(count - 1, 1)
    log_weight = jnp.where(
      follows, jnp.log((size - others) / size), 0.0
    ) - jnp.log(others)
    is_own = jnp.arange(rows) == own
    log_weight = jnp.where(is_own, -math.log(size), log_weight)
  if mask is not None:
    log_weight = jnp.where(mask, log_weight, -jnp.inf)
  return log_weight.astype(dtype)


def group_sums(x: Array, groups: Groups | None) -> Array | None:
  """Sums (..., D) over the coordinates of each group: (..., K)."""
  if groups is None:
    return None
  return jnp.stack([x[..., a:b].sum(axis=-1) for a, b in groups], axis=-1)
