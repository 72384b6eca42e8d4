"""Estimates of log q(z), against the authors' code and the derivation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.dts import estimators

# Sums of a few hundred float64 terms, in another order than torch's.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def problem(rows, dim, seed=0, noise=0.5):
  """Returns z, mu and logvar of a data set that is not independent."""
  rng = np.random.default_rng(seed)
  mu = rng.normal(size=(rows, dim)) @ rng.normal(size=(dim, dim)) / dim**0.5
  logvar = 2 * np.log(noise) + 0.3 * rng.normal(size=(rows, dim))
  z = mu + np.exp(logvar / 2) * rng.normal(size=(rows, dim))
  return z, mu, logvar


@pytest.mark.parametrize("name", ["tc_a", "tc_b"])
def test_values_equal_the_reference(x64, golden, name):
  arrays = golden(f"dts/{name}")
  inputs = [jnp.asarray(arrays[key]) for key in ("z", "mu", "logvar")]
  groups = arrays["groups"]

  @jax.jit
  def run(z, mu, logvar):
    results = {}
    for kind in ("mss", "mws", "batch"):
      densities = estimators.log_densities(
        z, mu, logvar, kind=kind, size=int(arrays["N"]), groups=groups
      )
      results[kind] = (
        densities,
        estimators.per_sample(densities),
        estimators.decompose(densities),
      )
    return results

  for kind, (densities, each, mean) in run(*inputs).items():
    expected = {
      "logqz": densities.log_qz,
      "logqz_d": densities.log_qz_d,
      "mi": each.mi,
      "tc": each.tc,
      "dwkl": each.dwkl,
      "dwkl_d": each.dwkl_d,
    }
    if kind != "batch":
      expected |= {
        "logqg": densities.log_qz_g,
        "group_tc": mean.tc_group,
        "within_tc": mean.tc_within,
        "group_mi": mean.group_mi,
      }
    for key, value in expected.items():
      np.testing.assert_allclose(
        value, arrays[f"{kind}_{key}"], **TOLERANCE, err_msg=f"{kind} {key}"
      )
    np.testing.assert_allclose(densities.log_qz_x, arrays["logqz_x"], rtol=1e-9)
    np.testing.assert_allclose(densities.log_pz, arrays["logpz"], rtol=1e-9)
    for value, per_sample in zip(mean, each):
      np.testing.assert_allclose(value, per_sample.mean(axis=0), **TOLERANCE)
  # The weights as published put 1 / N into the first column, and into the
  # second one the weight of the stratum.
  z, mu, logvar = (arrays[key] for key in ("z", "mu", "logvar"))
  size, m = int(arrays["N"]), len(z) - 1
  weights = np.full((m + 1, m + 1), 1 / m)
  weights[:, 0] = 1 / size
  weights[:, 1] = (size - m) / (size * m)
  weights[m - 1, 0] = (size - m) / (size * m)
  log_q = -0.5 * (
    np.log(2 * np.pi) + logvar + (z[:, None] - mu) ** 2 / np.exp(logvar)
  ).sum(axis=-1)
  published = np.log((np.exp(log_q) * weights).sum(axis=1))
  np.testing.assert_allclose(published, arrays["mss_code_logqz"], rtol=1e-9)
  ours = run(*inputs)["mss"][0].log_qz
  assert np.abs(published - ours).max() > 1


def test_exact_decomposition_equals_the_reference(x64, golden):
  arrays = golden("dts/exact_decomp")
  z, mu, logvar = (jnp.asarray(arrays[key]) for key in ("z", "mu", "logvar"))

  @jax.jit
  def run(z, mu, logvar):
    return (
      estimators.exact_terms(z, mu, logvar, rows=16),
      estimators.mi_agg(z, mu, logvar, rows=16),
      estimators.log_densities(z, mu, logvar, kind="exact"),
    )

  terms, mi_agg, densities = run(z, mu, logvar)
  entropies = -densities.log_qz_d.mean(axis=0)
  np.testing.assert_allclose(entropies, arrays["marginal_entropies"], rtol=1e-9)
  np.testing.assert_allclose(
    -densities.log_qz.mean(), arrays["joint_entropy"], rtol=1e-9
  )
  np.testing.assert_allclose(terms.tc, arrays["dependence"], **TOLERANCE)
  np.testing.assert_allclose(mi_agg, arrays["information"], **TOLERANCE)
  # The reference has the prior's cross entropy in closed form too.
  cross = 0.5 * (np.log(2 * np.pi) + mu**2 + np.exp(logvar)).mean(axis=0)
  np.testing.assert_allclose(
    (cross - entropies).sum(), arrays["dimwise_kl"], **TOLERANCE
  )


def test_published_gaps_of_the_estimators():
  # Batches of 32 out of 512 windows: what an estimator is good for shows in
  # how far it is from the exact values.
  z, mu, logvar = problem(512, 6, noise=0.3)

  @jax.jit
  def run(*data):
    def mean(kind):
      def one(*batch):
        densities = estimators.log_densities(*batch, kind=kind, size=512)
        return estimators.decompose(densities)

      terms = jax.vmap(one)(*(x.reshape(16, 32, 6) for x in data))
      return jax.tree.map(lambda x: x.mean(axis=0), terms)

    terms = {kind: mean(kind) for kind in ("mss", "batch", "mws")}
    infonce = estimators.infonce(*(x[:32] for x in data))
    return terms | {"exact": estimators.exact_terms(*data)}, infonce

  terms, infonce = run(z, mu, logvar)
  exact = terms["exact"]
  # What is left with `mss` is the bias of a logarithm, by Jensen's inequality.
  assert 0 < terms["mss"].mi - exact.mi < 1
  assert terms["batch"].mi <= np.log(32) and infonce <= np.log(32)
  assert terms["batch"].mi < exact.mi - 1
  assert terms["mws"].mi > exact.mi + 3
  assert terms["mws"].tc > exact.tc + 20
  for each in terms.values():
    # Differences of float32 values below 50.
    total = each.mi + each.tc + each.dwkl
    np.testing.assert_allclose(total, each.kl, atol=1e-4)


def test_stratified_sampling_is_unbiased(x64):
  size, rows, batches, tried = 500, 32, 2000, (0, 3, 77, 250, 499)
  z, mu, logvar = problem(size, 4, seed=1)
  rng = np.random.default_rng(2)

  @jax.jit
  def densities(z, mu, logvar, place):
    def one(z, mu, logvar, place):
      return [
        estimators.log_densities(
          z[None],
          mu,
          logvar,
          kind=kind,
          size=size,
          groups=((0, 2), (2, 4)),
          own=place[None],
        )
        for kind in ("mss", "batch")
      ]

    return jax.vmap(one, in_axes=(None, 0, 0, 0))(z, mu, logvar, place)

  each = np.exp(
    -0.5
    * (np.log(2 * np.pi) + logvar + (z[:, None] - mu) ** 2 / np.exp(logvar))
  )
  for i in tried:
    others = np.delete(np.arange(size), i)
    index = np.stack([rng.permutation(others)[:rows] for _ in range(batches)])
    place = rng.integers(0, rows, batches)
    index[np.arange(batches), place] = i
    stratified, naive = densities(z[i], mu[index], logvar[index], place)
    exact = (
      each[i].prod(axis=-1).mean(),
      each[i, :, 1].mean(),
      each[i, :, 2:].prod(axis=-1).mean(),
    )
    ratios = (
      np.exp(stratified.log_qz[:, 0]) / exact[0],
      np.exp(stratified.log_qz_d[:, 0, 1]) / exact[1],
      np.exp(stratified.log_qz_g[:, 0, 1]) / exact[2],
      np.exp(naive.log_qz[:, 0]) / exact[0],
    )
    errors = [(x.mean() - 1) / (x.std() / batches**0.5) for x in ratios]
    assert max(np.abs(errors[:3])) < 3, (i, errors)
    assert errors[3] > 10, (i, errors)
