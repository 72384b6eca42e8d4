"""Likelihood, information and use of the code on windows of the test set."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.dts import autoencoder
from jaxseq.dts import divergences
from jaxseq.dts import estimators
from jaxseq.tasks import base
from jaxseq.types import PyTree

# A coordinate is active if the variance of its mean exceeds this (Burda et al.,
# arXiv:1509.00519).
ACTIVE_VARIANCE = 0.01

_BATCH = 256


def chosen(count: int, limit: int) -> np.ndarray:
  """Returns which windows stand for all, (min(count, limit),) int.

  They lie evenly: windows may be in the order of recordings or of classes.
  """
  size = min(count, limit)
  return np.arange(size) * count // size


def over_windows(
  function: Callable[..., PyTree], x: jax.Array, *more: jax.Array | None
) -> PyTree:
  """Maps a function of a window over arrays (n, ...), some rows at a time."""
  return jax.lax.map(
    lambda window: function(*window), (x, *more), batch_size=min(_BATCH, len(x))
  )


def some(dataset: data.ArrayDataset, limit: int) -> data.ArrayDataset:
  """Returns at most `limit` windows that stand for all, see `chosen`."""
  return base.take(dataset, chosen(len(dataset.inputs), limit))


def encode(
  vae: autoencoder.VAE, variables: PyTree, windows: data.ArrayDataset
) -> tuple[jax.Array, jax.Array]:
  """Returns mean and log-variance of many windows, (n, D) each."""
  encode = functools.partial(vae.apply, variables, method="encode")
  return over_windows(encode, windows.inputs, windows.lengths)


def nll(
  vae: autoencoder.VAE,
  variables: PyTree,
  windows: data.ArrayDataset,
  z: jax.Array,
) -> jax.Array:
  """Returns -log p(x|z) of many windows in nats, (n,), for codes z (n, D)."""
  nll = functools.partial(vae.apply, variables, method="nll")
  return over_windows(nll, windows.inputs, z, windows.lengths)


def active(mu: jax.Array, threshold: float = ACTIVE_VARIANCE) -> jax.Array:
  """Returns which coordinates vary with the window, (D,) bool.

  A KL of 1 nat in all, spread over ten coordinates, can leave all ten active.
  The threshold is that of the unbiased variance of the means (n, D), n >= 2.
  """
  return jnp.var(mu, axis=0, ddof=1) > threshold


def exchange(key: jax.Array, count: int) -> jax.Array:
  """Returns whose code each window gets, (count,): nobody keeps its own."""
  order = jax.random.permutation(key, count)
  # One cycle through all of them.
  return jnp.zeros_like(order).at[order].set(jnp.roll(order, 1))


def evaluate(
  vae: autoencoder.VAE,
  variables: PyTree,
  dataset: data.ArrayDataset,
  limit: int = 4096,
) -> dict[str, PyTree]:
  """Measures a model on windows, one sample z for each.

  Args:
    vae: the model.
    variables: of the model.
    dataset: windows.
    limit: at most so many windows are used, see `some`.

  Returns:
    In nats a window: "nll"; "kl" (analytic); "neg_elbo", their sum; "mi", "tc"
    and "dwkl" with the exact mixture of these windows for q(z); "mi_agg", as
    "mi", with the entropy of q(z|x) in closed form; "gap", how much
    "nll" grows with the code of another window, which is 0 if the decoder does
    not use the code; "noise_scale", the decoder's. "active", the number of
    active coordinates, which says little without "mi" and "gap". "kl_d/i", the
    analytic KL of coordinate i.
  """
  windows = some(dataset, limit)
  mu, logvar = encode(vae, variables, windows)
  key_z, key_other = jax.random.split(jax.random.key(0))
  z = autoencoder.sample(key_z, mu, logvar)
  other = z[exchange(key_other, len(z))]
  reconstruction = nll(vae, variables, windows, z).mean()
  foreign = nll(vae, variables, windows, other).mean()
  kl_d = divergences.kl(mu, logvar).mean(axis=0)
  densities = estimators.log_densities(z, mu, logvar, kind="exact", rows=_BATCH)
  terms = estimators.decompose(densities)
  scale = vae.config.scale
  if scale is None:
    scale = jnp.exp(variables["params"]["log_scale"])
  return {
    "nll": reconstruction,
    "kl": kl_d.sum(),
    "neg_elbo": reconstruction + kl_d.sum(),
    "mi": terms.mi,
    "mi_agg": estimators.mi_agg_of(densities, logvar),
    "tc": terms.tc,
    "dwkl": terms.dwkl,
    "gap": foreign - reconstruction,
    "active": active(mu).sum(),
    "noise_scale": jnp.asarray(scale, jnp.float32),
    "kl_d": {str(i): kl_d[i] for i in range(kl_d.shape[0])},
  }
