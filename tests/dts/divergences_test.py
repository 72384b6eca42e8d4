"""Divergences from the prior, against golden values and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.dts import divergences

# Sums of 1600 kernels in float64.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def test_discrepancies_equal_the_reference(x64, golden):
  arrays = golden("dts/mmd")
  z, prior = arrays["qz"], arrays["pz"]

  @jax.jit
  def run(z, prior):
    results = {}
    for kernel in divergences.KERNELS:
      for unbiased in (True, False):
        value = functools.partial(
          divergences.mmd, kernel=kernel, unbiased=unbiased
        )
        name = f"{kernel}_{'unbiased' if unbiased else 'biased'}"
        results[name] = jax.value_and_grad(value)(z, prior)
    return results

  results = run(z, prior)
  checked = 0
  for name, (value, grad) in results.items():
    if name in arrays:
      checked += 1
      np.testing.assert_allclose(value, arrays[name], **TOLERANCE)
    if f"{name}_gq" in arrays:
      checked += 1
      np.testing.assert_allclose(grad, arrays[f"{name}_gq"], **TOLERANCE)
  assert checked == 13


def test_kl_equals_the_reference(x64, golden):
  arrays = golden("dts/tc_b")
  got = divergences.kl(arrays["mu"], arrays["logvar"])
  np.testing.assert_allclose(got, arrays["kl_analytic_d"], **TOLERANCE)


def test_dip_penalties(x64):
  rng = np.random.default_rng(0)
  mu, logvar = rng.normal(size=(2, 7, 3))

  @jax.jit
  def run(mu, logvar):
    first = divergences.covariance(mu)
    second = divergences.covariance(mu, logvar)
    penalty = divergences.dip_penalty
    return first, second, penalty(first, 10.0, 100.0), penalty(second, 3.0, 3.0)

  first, second, penalty, whole = run(mu, logvar)
  want = np.cov(mu.T, ddof=0)
  np.testing.assert_allclose(first, want, **TOLERANCE)
  beside = (want[~np.eye(3, dtype=bool)] ** 2).sum()
  np.testing.assert_allclose(
    penalty, 10 * beside + 100 * ((np.diag(want) - 1) ** 2).sum(), **TOLERANCE
  )
  want = want + np.diag(np.exp(logvar).mean(axis=0))
  np.testing.assert_allclose(second, want, **TOLERANCE)
  np.testing.assert_allclose(
    whole, 3 * ((want - np.eye(3)) ** 2).sum(), **TOLERANCE
  )


def test_what_is_refused():
  z = jnp.ones((3, 2))
  with pytest.raises(
    ValueError, match="kernel: got .* expected one of 'rbf_infovae'"
  ):
    divergences.mmd(z, z, kernel="rbf")
  with pytest.raises(ValueError, match="z and prior: got .* equally many"):
    divergences.mmd(z, z[:2])
