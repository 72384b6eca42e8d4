"""Estimates of log q(z) from a batch, and what the KL consists of.

The aggregate posterior q(z) = 1/N sum_n q(z | x_n) of N windows is estimated
from the rows of a batch:

    exact   the rows are all N windows
    batch   the rows weigh the same; I(x; z) cannot exceed log(batch), and is
            far too small when N is larger
    mws     minibatch-weighted sampling: about q(z) / N, so that its values are
            off by constants; a loss, not something to report
    mss     minibatch-stratified sampling: an unbiased estimate of q(z)

Chen et al., "Isolating Sources of Disentanglement in VAEs", arXiv:1802.04942,
section 4.1 and appendix C. The weights of `mss` are those of the derivation,

    W[i, i] = 1 / N,  W[i, i + 1] = (N - M) / (N M),  others 1 / M,

with M = batch - 1. The code published with the paper puts 1 / N into the first
column instead, which makes it the same as `batch`.
"""

from collections.abc import Sequence
import math
import typing
from typing import Literal
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate

Array = jax.Array
Kind = Literal["exact", "batch", "mws", "mss"]
Groups = Sequence[Sequence[int]]

KINDS = typing.get_args(Kind)
_LOG_2PI = math.log(2 * math.pi)


class Densities(NamedTuple):
  """Log densities of B samples z, in nats; K is the number of groups.

  Attributes:
    log_qz_x: (B,) log q(z | x) of the x that z was drawn for.
    log_qz_x_d: (B, D) the same for each coordinate.
    log_pz: (B,) log p(z).
    log_pz_d: (B, D) log p(z_d).
    log_qz: (B,) estimate of log q(z).
    log_qz_d: (B, D) of log q(z_d).
    log_qz_x_g: (B, K) log q(z_G | x), or None without groups, as the others.
    log_qz_g: (B, K) estimate of log q(z_G).
    log_qz_prod_g: (B, K) sum of log q(z_d) over the coordinates of a group.
  """

  log_qz_x: Array
  log_qz_x_d: Array
  log_pz: Array
  log_pz_d: Array
  log_qz: Array
  log_qz_d: Array
  log_qz_x_g: Array | None = None
  log_qz_g: Array | None = None
  log_qz_prod_g: Array | None = None


class Terms(NamedTuple):
  """Parts of KL(q(z | x) || p(z)), in nats; kl = mi + tc + dwkl.

  Means of a batch, or one value for each sample with a leading axis.

  Attributes:
    kl: () log q(z | x) - log p(z).
    mi: () mutual information I(x; z).
    tc: () total correlation of the coordinates.
    dwkl: () dimension-wise KL, of the marginals q(z_d) to the prior.
    dwkl_d: (D,) the same for each coordinate.
    tc_group: () total correlation of the groups, or None without groups, as
      the others; tc = tc_group + sum of tc_within.
    tc_within: (K,) total correlation inside each group.
    group_mi: (K,) mutual information I(x; z_G).
  """

  kl: Array
  mi: Array
  tc: Array
  dwkl: Array
  dwkl_d: Array
  tc_group: Array | None = None
  tc_within: Array | None = None
  group_mi: Array | None = None


def log_densities(
  z: Array,
  mu: Array,
  logvar: Array,
  *,
  kind: Kind = "mss",
  size: int | None = None,
  groups: Groups | None = None,
  rows: int | None = None,
) -> Densities:
  """Computes log densities of samples under posterior, prior and q(z).

  Gradients flow through everything, also through log q(z).

  Args:
    z: (B, D) floating samples, the i-th of them drawn from the i-th row.
    mu: (R, D) means of q(z | x) of the rows that q(z) is estimated from, at
      least as many.
    logvar: (R, D) log variances.
    kind: how q(z) is estimated, see above.
    size: N, the number of windows in the data set; needed by "mws" and "mss",
      and not less than the number of rows.
    groups: pairs (start, end), ranges of coordinates that cover each
      coordinate once.
    rows: how many samples are compared with all rows at a time, so that
      (rows, R, D) is the largest array in memory; all of them if None.

  Returns:
    The densities, in float32 or wider.

  Raises:
    ValueError: for shapes that do not fit, an unknown kind, a size that is
      missing or too small, or groups that are no partition.
  """
  dtype = jnp.promote_types(jnp.result_type(z, mu, logvar), jnp.float32)
  z, mu, logvar = (jnp.asarray(x, dtype) for x in (z, mu, logvar))
  _check_inputs(z, mu, logvar, kind, size, rows)
  if groups is not None:
    groups = _partition(groups, z.shape[-1])
  count = z.shape[0]
  log_qz_x_d = _log_normal(z, mu[:count], logvar[:count])
  log_pz_d = _log_normal(z, 0.0, 0.0)

  def of_one(arguments):
    """Log q(z), log q(z_d) and log q(z_G) of one sample."""
    z, row = arguments
    each = _log_normal(z, mu, logvar)  # (R, D)
    parts = [each.sum(axis=-1, keepdims=True), each]
    if groups is not None:
      parts.append(_group_sums(each, groups))
    weights = _log_weights(row, mu.shape[0], kind, size, dtype)
    joined = jnp.concatenate(parts, axis=-1) + weights[:, None]
    log_q = jax.nn.logsumexp(joined, axis=0)
    end = 1 + mu.shape[-1]
    return log_q[0], log_q[1:end], None if groups is None else log_q[end:]

  samples = z, jnp.arange(count)
  if rows is None or rows >= count:
    log_qz, log_qz_d, log_qz_g = jax.vmap(of_one)(samples)
  else:
    # Recomputed in the backward pass, which would else keep every piece.
    log_qz, log_qz_d, log_qz_g = lax.map(
      jax.checkpoint(of_one), samples, batch_size=rows
    )
  return Densities(
    log_qz_x=log_qz_x_d.sum(axis=-1),
    log_qz_x_d=log_qz_x_d,
    log_pz=log_pz_d.sum(axis=-1),
    log_pz_d=log_pz_d,
    log_qz=log_qz,
    log_qz_d=log_qz_d,
    log_qz_x_g=_group_sums(log_qz_x_d, groups),
    log_qz_g=log_qz_g,
    log_qz_prod_g=_group_sums(log_qz_d, groups),
  )


def _check_inputs(z, mu, logvar, kind, size, rows):
  validate.choice("kind", kind, KINDS)
  count = mu.shape[0]
  if (
    not z.ndim == mu.ndim == 2 or z.shape[1:] != mu.shape[1:] or len(z) > count
  ):
    shapes = f"shape {z.shape} and {mu.shape}"
    expected = "(samples, D) and (rows, D), a row or more for each sample"
    raise validate.error("z and mu", shapes, expected)
  if logvar.shape != mu.shape:
    expected = f"the shape of mu, {mu.shape}"
    raise validate.error("logvar", f"shape {logvar.shape}", expected)
  if rows is not None:
    validate.positive("rows", rows)
  if kind in ("exact", "batch"):
    return
  if size is None:
    raise validate.error("size", None, f"the number of windows for {kind!r}")
  validate.positive("size", size)
  if size < count:
    expected = f"at least the {count} rows of the batch"
    raise validate.error("size", size, expected)
  if kind == "mss" and count < 2:
    raise validate.error("rows of mu", count, "at least 2 rows for 'mss'")


def _partition(groups, size):
  """Returns half-open ranges, checked to cover 0 .. size - 1 once each."""
  pairs = tuple((int(start), int(end)) for start, end in groups)
  covered = sorted(i for start, end in pairs for i in range(start, end))
  if any(a >= b for a, b in pairs) or covered != list(range(size)):
    expected = f"ranges [start, end) that cover the {size} coordinates once"
    raise validate.error("groups", pairs, expected)
  return pairs


def _log_normal(z, mu, logvar):
  """Returns the log density of a Gaussian for each coordinate: (..., D)."""
  square = jnp.square(z - mu) * jnp.exp(-logvar)
  return -0.5 * (_LOG_2PI + logvar + square)


def _log_weights(row, rows, kind, size, dtype):
  """Returns the logarithm of each row's weight for the sample of one: (R,)."""
  count = jnp.asarray(rows, dtype)
  if kind != "mss":
    return jnp.full(rows, -jnp.log(count * size if kind == "mws" else count))
  rank = jnp.arange(rows)
  others = count - 1
  # The last row is followed by the first.
  follows = rank == (row + 1) % rows
  more = jnp.where(follows, jnp.log((size - others) / size), 0.0)
  weights = jnp.where(rank == row, -math.log(size), more - jnp.log(others))
  return weights.astype(dtype)


def _group_sums(x, groups):
  """Sums (..., D) over the coordinates of each group: (..., K)."""
  if groups is None:
    return None
  return jnp.stack([x[..., a:b].sum(axis=-1) for a, b in groups], axis=-1)


def per_sample(densities: Densities) -> Terms:
  """Splits log q(z | x) - log p(z) of each sample: terms with an axis (B,).

  The parts add up to it whatever the estimate of q(z) is. A single one may be
  negative.
  """
  product = densities.log_qz_d.sum(axis=-1)
  dwkl_d = densities.log_qz_d - densities.log_pz_d
  terms = Terms(
    kl=densities.log_qz_x - densities.log_pz,
    mi=densities.log_qz_x - densities.log_qz,
    tc=densities.log_qz - product,
    dwkl=dwkl_d.sum(axis=-1),
    dwkl_d=dwkl_d,
  )
  if densities.log_qz_g is None:
    return terms
  return terms._replace(
    tc_group=densities.log_qz - densities.log_qz_g.sum(axis=-1),
    tc_within=densities.log_qz_g - densities.log_qz_prod_g,
    group_mi=densities.log_qz_x_g - densities.log_qz_g,
  )


def decompose(densities: Densities) -> Terms:
  """Averages the terms of the KL over samples.

  None of them has a bound that holds for estimates, so that a negative total
  correlation means that the estimate is noisy.
  """
  return jax.tree.map(lambda x: x.mean(axis=0), per_sample(densities))


def mi_agg(
  z: Array, mu: Array, logvar: Array, *, rows: int | None = None
) -> Array:
  """Estimates I(x; z) on one big batch, with the entropy of q(z | x) exact.

  He et al., "Lagging Inference Networks and Posterior Collapse in VAEs",
  arXiv:1901.05534, appendix: E log q(z | x) - E log q(z), where q(z) is the
  mixture of the batch. About log(batch) is the most that it can show.

  From samples, means and log variances (B, D) to (), nats; `rows` samples at a
  time, as in `log_densities`.
  """
  densities = log_densities(z, mu, logvar, kind="exact", rows=rows)
  return mi_agg_of(densities, logvar)


def mi_agg_of(densities: Densities, logvar: Array) -> Array:
  """Returns what `mi_agg` does, from the "exact" densities of a big batch.

  They were made from log variances (B, D).
  """
  negative_entropy = -0.5 * (_LOG_2PI + 1 + logvar).sum(axis=-1)
  return negative_entropy.mean() - densities.log_qz.mean()
