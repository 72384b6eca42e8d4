"""Divergences from the prior that need no estimate of log q(z).

The analytic KL, the maximum mean discrepancy of InfoVAE (Zhao et al.,
arXiv:1706.02262) and Wasserstein auto-encoders (Tolstikhin et al.,
arXiv:1711.01558), and the penalties of DIP-VAE (Kumar et al.,
arXiv:1711.00848).
"""

import typing
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate

Array = jax.Array
Kernel = Literal["rbf_infovae", "rbf_2d", "imq_wae", "rbf_wae"]

KERNELS = typing.get_args(Kernel)
_IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def kl(mu: Array, logvar: Array) -> Array:
  """Returns KL(q(z_d | x) || N(0, 1)) of each coordinate, in nats: (..., D)."""
  return 0.5 * (jnp.square(mu) + jnp.exp(logvar) - logvar - 1)


def mmd(
  z: Array, prior: Array, *, kernel: Kernel = "imq_wae", unbiased: bool = True
) -> Array:
  """Estimates the squared maximum mean discrepancy of q(z) and p(z).

  With squared distances d2 in D dimensions the kernels are

      rbf_infovae   exp(-d2 / D^2), as in InfoVAE's tutorial
      rbf_2d        exp(-d2 / (2 D))
      imq_wae       sum over s of C / (C + d2), C = 2 D s, for seven scales s
      rbf_wae       exp(-d2 / (2 sigma^2)), sigma^2 as follows

  As in the code of Wasserstein auto-encoders, with h = (n^2 - n) / 2: sigma^2
  is the h-th largest squared distance between samples and prior samples, plus
  the h-th largest among samples, including those to themselves. It is a
  constant for gradients.

  Args:
    z: (n, D) samples of q(z), one for each window.
    prior: (n, D) samples of the prior.
    kernel: its name.
    unbiased: whether to leave out the distance of a sample to itself. The
      result then may be negative: it has no root and no logarithm.

  Returns:
    () value. NaN if it is unbiased and n < 2.

  Raises:
    ValueError: for an unknown kernel, or shapes that do not fit.
  """
  validate.choice("kernel", kernel, KERNELS)
  if z.ndim != 2 or z.shape != prior.shape:
    shapes = f"shape {z.shape} and {prior.shape}"
    raise validate.error("z and prior", shapes, "(samples, D), equally many")
  count = jnp.asarray(z.shape[0], z.dtype)
  distances = [_squares(a, b) for a, b in ((z, z), (prior, prior), (z, prior))]
  width = None
  if kernel == "rbf_wae":
    width = _median_width(distances[0], distances[2])
  inside_z, inside_prior, across = (
    _kernel(kernel, d2, z.shape[-1], width) for d2 in distances
  )
  inside = inside_z + inside_prior
  total = inside.sum()
  if unbiased:
    total = (total - jnp.trace(inside)) / (count * (count - 1))
  else:
    total = total / count**2
  return total - 2 * across.sum() / count**2


def _squares(a, b):
  return jnp.square(a[:, None] - b).sum(axis=-1)


def _median_width(among, across):
  count = len(among)
  place = count**2 - (count**2 - count) // 2
  widths = [jnp.sort(d2, axis=None)[place] for d2 in (among, across)]
  return lax.stop_gradient(widths[0] + widths[1])


def _kernel(kernel, d2, dim, width):
  if kernel == "rbf_infovae":
    return jnp.exp(-d2 / dim**2)
  if kernel == "rbf_2d":
    return jnp.exp(-d2 / (2 * dim))
  if kernel == "rbf_wae":
    return jnp.exp(-d2 / (2 * width))
  return sum(2 * dim * s / (2 * dim * s + d2) for s in _IMQ_SCALES)


def covariance(mu: Array, logvar: Array | None = None) -> Array:
  """Returns the covariance (D, D) of means (batch, D), or of the samples.

  With the log variances (batch, D) the mean variance of q(z | x) is added,
  which gives the covariance of z. Sums are divided by the number of rows.
  """
  centered = mu - mu.mean(axis=0)
  result = (centered[:, :, None] * centered[:, None, :]).mean(axis=0)
  if logvar is None:
    return result
  return result + jnp.diag(jnp.exp(logvar).mean(axis=0))


def dip_penalty(cov: Array, off_diagonal: float, diagonal: float) -> Array:
  """Returns DIP-VAE's penalty on a covariance that is not the identity.

  Args:
    cov: (D, D) from `covariance`, of the means (DIP-VAE I) or of the samples
      (DIP-VAE II).
    off_diagonal: weight of the squares beside the diagonal.
    diagonal: weight of the squares of what the diagonal differs from 1.

  Returns:
    ().
  """
  variances = jnp.diagonal(cov)
  off_squares = jnp.square(cov).sum() - jnp.square(variances).sum()
  return off_diagonal * off_squares + diagonal * jnp.square(variances - 1).sum()
