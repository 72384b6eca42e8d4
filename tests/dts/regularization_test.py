"""The regularizer of every method, from golden terms, and its gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.dts import divergences
from jaxseq.dts import methods
from jaxseq.dts import regularization

# Sums of a few hundred float64 terms, in another order than torch's.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
GROUPS = ((0, 2), (2, 4))
PROGRESS = 0.1
KEY = 3

_DTS = methods.Config(alpha=3.5, beta=4.0, anneal="none")
_VAE = methods.Config(method="vae", anneal="none")


def changed(config, **changes):
  return dataclasses.replace(config, **changes)


CONFIGS = {
  "vae": _VAE,
  "beta_vae": changed(_VAE, method="beta_vae", beta=3.0),
  "beta_tcvae": changed(_VAE, method="beta_tcvae", beta=4.0),
  "factor_vae": changed(_VAE, method="factor_vae", gamma=5.0),
  "info_vae": changed(_VAE, method="info_vae", alpha=0.3, lam=2.0),
  "annealed_vae": changed(
    _VAE, method="annealed_vae", capacity=20.0, capacity_ramp=0.5
  ),
  "dip_vae_i": changed(_VAE, method="dip_vae_i", dip_off_diagonal=2.0),
  "dip_vae_ii": changed(_VAE, method="dip_vae_ii", dip_off_diagonal=2.0),
  "dts": _DTS,
  "dts_sampled": changed(_DTS, kl_cond="sampled"),
  "dts_groups": changed(_DTS, w_gtc=6.0),
  "dts_groups_sampled": changed(_DTS, w_gtc=6.0, kl_cond="sampled"),
  "dts_mmd": changed(_DTS, kl_marg="mmd"),
  "dts_mmd_weight": changed(
    _DTS, kl_marg="mmd", mmd_weight=9.0, mmd_kernel="rbf_2d"
  ),
  "mi_cap": changed(_DTS, mi_cap=2.0),
  "mi_cap_above": changed(_DTS, mi_cap=4.0),
  "free_bits": changed(_DTS, free_bits=0.9),
  "free_bits_group": changed(_DTS, free_bits=1.5, free_bits_per="group"),
  "delta_min": changed(_DTS, delta_min=30.0),
  "delta_min_below": changed(_DTS, delta_min=0.1),
  "capacity": changed(_DTS, capacity=20.0, capacity_weight=2.0),
  "monotonic": changed(_DTS, anneal="monotonic"),
  "cyclical": changed(_DTS, anneal="cyclical", anneal_shape="cosine"),
}


# Those whose gradients are compared.
DIFFERENTIATED = ("dts", "free_bits", "delta_min")


def regularizer(config, arrays, progress, groups=None):
  """Returns the regularizer as a function of mu and logvar."""

  def value(mu, logvar):
    z = mu + jnp.exp(logvar / 2) * arrays["eps"]
    return regularization.regularizer(
      config,
      regularization.Codes(mu, logvar, z),
      size=int(arrays["N"]),
      progress=progress,
      key=jax.random.key(KEY),
      groups=groups,
      tc=0.7 if config.method == "factor_vae" else None,
    )

  return value


@pytest.mark.parametrize(
  ("name", "cases"),
  [
    ("tc_a", ("dts3_mss", "dts5_mws")),
    *(
      pytest.param(
        name,
        [f"dts{c}_{kind}" for c in range(6) for kind in ("mws", "mss")],
        marks=pytest.mark.slow,
      )
      for name in ("tc_a", "tc_b")
    ),
  ],
)
def test_dts_equals_the_reference(x64, golden, name, cases):
  arrays = golden(f"dts/{name}")

  @jax.jit
  def run(mu, logvar):
    results = {}
    for case in cases:
      alpha, beta = arrays[f"{case}_ab"]
      config = methods.Config(
        alpha=float(alpha),
        beta=float(beta),
        kl_cond="sampled",
        estimator=case[-3:],
        anneal="none",
      )
      value = regularizer(config, arrays, 0.0)
      grad = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
      (loss, _), grads = grad(mu, logvar)
      results[case] = (loss, *grads)
    return results

  for case, got in run(arrays["mu"], arrays["logvar"]).items():
    for key, value in zip(("loss", "gmu", "glogvar"), got):
      np.testing.assert_allclose(
        value, arrays[f"{case}_{key}"], **TOLERANCE, err_msg=f"{case} {key}"
      )


@pytest.fixture(scope="module")
def results(golden):
  """Values and metrics of all cases on the same batch, and gradients."""
  arrays = golden("dts/tc_a")
  traces = []

  @jax.jit
  def run(mu, logvar, progress):
    traces.append(progress)
    values = {
      name: regularizer(config, arrays, progress, GROUPS)
      for name, config in CONFIGS.items()
    }
    grads = {
      name: jax.grad(values[name], argnums=(0, 1), has_aux=True)(mu, logvar)[0]
      for name in DIFFERENTIATED
    }
    prior = jax.random.normal(jax.random.key(KEY), (8, 4), jnp.float64)
    mmd = {
      kernel: divergences.mmd(jnp.asarray(arrays["z"]), prior, kernel=kernel)
      for kernel in ("imq_wae", "rbf_2d")
    }
    return {name: f(mu, logvar) for name, f in values.items()}, mmd, grads

  with jax.enable_x64(True):
    batch = arrays["mu"], arrays["logvar"]
    now, then = (
      jax.tree.map(np.asarray, run(*batch, progress))
      for progress in (PROGRESS, 0.9)
    )
  # Progress is traced.
  assert len(traces) == 1
  computed, mmd, grads = now
  return arrays, computed, then[0], mmd, grads


@pytest.mark.slow
def test_values_are_the_weighted_terms(results):
  arrays, computed, later, mmd, _ = results
  kl_d = arrays["kl_analytic_d"].mean(axis=0)
  kl, mi, tc, dwkl = (
    kl_d.sum(),
    *(arrays[f"mss_{term}"].mean() for term in ("mi", "tc", "dwkl")),
  )
  between = arrays["mss_group_tc"]
  marginal = tc + dwkl
  covariance = np.cov(arrays["mu"].T, ddof=0)
  whole = covariance + np.diag(np.exp(arrays["logvar"]).mean(axis=0))
  beside = ~np.eye(4, dtype=bool)
  dts = 0.5 * kl + 3.5 * marginal
  sampled = 0.5 * mi + 4 * marginal
  expected = {
    "vae": kl,
    "beta_vae": 3 * kl,
    "beta_tcvae": kl + 3 * tc,
    "factor_vae": kl + 5 * 0.7,
    "info_vae": 0.7 * kl + 1.3 * marginal,
    "annealed_vae": 1000 * abs(kl - 4.0),
    "dip_vae_i": kl
    + 2 * (covariance[beside] ** 2).sum()
    + 20 * ((np.diag(covariance) - 1) ** 2).sum(),
    "dip_vae_ii": kl + 2 * ((whole - np.eye(4)) ** 2).sum(),
    "dts": dts,
    "dts_sampled": sampled,
    "dts_groups": dts + 2 * between,
    "dts_groups_sampled": sampled + 2 * between,
    "dts_mmd": 0.5 * kl + 3.5 * mmd["imq_wae"],
    "dts_mmd_weight": 0.5 * kl + 9 * mmd["rbf_2d"],
    "mi_cap": dts + 3.5 * (mi - 2.0),
    "mi_cap_above": dts,
    "free_bits": 0.5 * np.maximum(kl_d, 0.9).sum() + 3.5 * marginal,
    "free_bits_group": 0.5
    * (max(kl_d[:2].sum(), 1.5) + max(kl_d[2:].sum(), 1.5))
    + 3.5 * marginal,
    "delta_min": 0.5 * 30 + 3.5 * marginal,
    "delta_min_below": dts,
    "capacity": 2 * abs(kl - 2.0) + 3.5 * marginal,
    "monotonic": 0.4 * dts,
    # 0.4 of a cycle, of which one half rises.
    "cyclical": 0.5 * (1 - np.cos(0.8 * np.pi)) * dts,
  }
  assert set(expected) == set(CONFIGS)
  # The options do something here.
  assert 2 < mi < 4
  assert (kl_d < 0.9).any()
  assert kl_d[2:].sum() < 1.5 < kl_d[:2].sum()
  for name, value in expected.items():
    got, metrics = computed[name]
    np.testing.assert_allclose(got, value, **TOLERANCE, err_msg=name)
    for key, term in (
      ("kl", kl),
      ("mi", mi),
      ("tc", tc),
      ("dwkl", dwkl),
      ("tc_group", between),
      ("tc_within_1", arrays["mss_within_tc"][1]),
      ("mi_group_0", arrays["mss_group_mi"][0]),
      ("regularizer", value),
    ):
      np.testing.assert_allclose(metrics[key], term, **TOLERANCE, err_msg=key)
    assert all(x.shape == () for x in metrics.values())
  for name in ("dts", "monotonic"):
    got, metrics = later[name]
    np.testing.assert_allclose(got, dts, **TOLERANCE)
    assert metrics["anneal"] == 1
  got, metrics = later["annealed_vae"]
  np.testing.assert_allclose(got, 1000 * abs(kl - 20.0), **TOLERANCE)
  assert metrics["capacity"] == 20
  for name in ("dts_mmd", "dts_mmd_weight"):
    kernel = CONFIGS[name].mmd_kernel
    np.testing.assert_allclose(
      computed[name][1]["mmd"], mmd[kernel], **TOLERANCE
    )


def test_options_against_collapse_stop_the_gradient_of_a_small_kl(results):
  arrays, *_, grads = results
  kl_d = arrays["kl_analytic_d"].mean(axis=0)
  marginal = {  # The gradient without that of 0.5 KL, which is in closed form.
    "mu": grads["dts"][0] - 0.5 * arrays["mu"] / 8,
    "logvar": grads["dts"][1] - 0.25 * (np.exp(arrays["logvar"]) - 1) / 8,
  }
  small = kl_d < 0.9
  for i, name in enumerate(("mu", "logvar")):
    got = grads["free_bits"][i]
    np.testing.assert_allclose(
      got[:, small], marginal[name][:, small], **TOLERANCE
    )
    np.testing.assert_allclose(
      got[:, ~small], grads["dts"][i][:, ~small], **TOLERANCE
    )
    np.testing.assert_allclose(
      grads["delta_min"][i], marginal[name], **TOLERANCE
    )


def test_what_is_refused():
  mu = jnp.zeros((4, 4))

  def run(config, **options):
    regularization.regularizer(
      config,
      regularization.Codes(mu, mu, mu),
      size=9,
      progress=0.0,
      **options,
    )

  with pytest.raises(ValueError, match="key: got None, expected a random key"):
    run(CONFIGS["dts_mmd"])
  with pytest.raises(ValueError, match="tc: got None, .* for factor_vae"):
    run(CONFIGS["factor_vae"])
  with pytest.raises(ValueError, match="tc: got .*, expected None for vae"):
    run(CONFIGS["vae"], tc=mu[0, 0])
  with pytest.raises(
    ValueError, match="groups: got None, expected ranges for w_gtc"
  ):
    run(CONFIGS["dts_groups"])
  with pytest.raises(
    ValueError, match="groups: got None, .* free bits of groups"
  ):
    run(CONFIGS["free_bits_group"])
