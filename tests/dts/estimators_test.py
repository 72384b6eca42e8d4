"""Estimates of log q(z), against the authors' code and the derivation."""

import functools

import chex
import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.dts import estimators

# Sums of a few hundred float64 terms, in another order than torch's.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def exact_terms(z, mu, logvar, *, rows=256):
  """The terms with the exact q(z) of a whole data set."""
  return estimators.decompose(
    estimators.log_densities(z, mu, logvar, kind="exact", rows=rows)
  )


def problem(rows, dim, seed=0, noise=0.5):
  """Returns z, mu and logvar of a data set that is not independent."""
  rng = np.random.default_rng(seed)
  mu = rng.normal(size=(rows, dim)) @ rng.normal(size=(dim, dim)) / dim**0.5
  logvar = 2 * np.log(noise) + 0.3 * rng.normal(size=(rows, dim))
  z = mu + np.exp(logvar / 2) * rng.normal(size=(rows, dim))
  return z, mu, logvar


@pytest.mark.parametrize(
  "name", [pytest.param("tc_a", marks=pytest.mark.slow), "tc_b"]
)
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
    np.testing.assert_allclose(
      densities.log_qz_x, arrays["logqz_x"], rtol=1e-10
    )
    np.testing.assert_allclose(densities.log_pz, arrays["logpz"], rtol=1e-10)
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
  np.testing.assert_allclose(published, arrays["mss_code_logqz"], rtol=1e-10)
  ours = run(*inputs)["mss"][0].log_qz
  assert np.abs(published - ours).max() > 1


def test_exact_decomposition_equals_the_reference(x64, golden):
  arrays = golden("dts/exact_decomp")
  z, mu, logvar = (jnp.asarray(arrays[key]) for key in ("z", "mu", "logvar"))

  @jax.jit
  def run(z, mu, logvar):
    return (
      exact_terms(z, mu, logvar, rows=16),
      estimators.mi_agg(z, mu, logvar, rows=16),
      estimators.log_densities(z, mu, logvar, kind="exact"),
    )

  terms, mi_agg, densities = run(z, mu, logvar)
  entropies = -densities.log_qz_d.mean(axis=0)
  np.testing.assert_allclose(
    entropies, arrays["marginal_entropies"], rtol=1e-10
  )
  np.testing.assert_allclose(
    -densities.log_qz.mean(), arrays["joint_entropy"], rtol=1e-10
  )
  np.testing.assert_allclose(terms.tc, arrays["dependence"], **TOLERANCE)
  np.testing.assert_allclose(mi_agg, arrays["information"], **TOLERANCE)
  # The reference has the prior's cross entropy in closed form too.
  cross = 0.5 * (np.log(2 * np.pi) + mu**2 + np.exp(logvar)).mean(axis=0)
  np.testing.assert_allclose(
    (cross - entropies).sum(), arrays["dimwise_kl"], **TOLERANCE
  )


@pytest.mark.slow
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
    return terms | {"exact": exact_terms(*data)}

  terms = run(z, mu, logvar)
  exact = terms["exact"]
  # What is left with `mss` is the bias of a logarithm, by Jensen's inequality.
  assert 0 < terms["mss"].mi - exact.mi < 1
  assert terms["batch"].mi <= np.log(32)
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
  def densities(z, mu, logvar):
    def one(z, mu, logvar):
      return [
        estimators.log_densities(
          z[None], mu, logvar, kind=kind, size=size, groups=((0, 2), (2, 4))
        )
        for kind in ("mss", "batch")
      ]

    return jax.vmap(one, in_axes=(None, 0, 0))(z, mu, logvar)

  each = np.exp(
    -0.5
    * (np.log(2 * np.pi) + logvar + (z[:, None] - mu) ** 2 / np.exp(logvar))
  )
  worst = 0.0
  for i in tried:
    others = np.delete(np.arange(size), i)
    index = np.stack([rng.permutation(others)[:rows] for _ in range(batches)])
    index[:, 0] = i
    stratified, naive = densities(z[i], mu[index], logvar[index])
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
    worst = max(worst, errors[3])
  # The test would notice: equal weights overrate most samples.
  assert worst > 10


ROWS, DIM, GROUPS = 12, 3, ((1, 3), (0, 1))


def loss(densities):
  terms = estimators.decompose(densities)
  return (
    0.5 * terms.mi
    + 3 * terms.tc
    + 2 * terms.dwkl
    + terms.tc_group
    + (terms.group_mi**2).sum()
  )


@pytest.fixture(scope="module")
def whole():
  """Loss and gradients of 12 rows, and the function that computes them."""

  def run(batch, options):
    def one(*batch):
      densities = estimators.log_densities(
        *batch, kind="mss", size=40, groups=GROUPS, **options
      )
      return loss(densities)

    return jax.value_and_grad(one, argnums=(0, 1, 2))(*batch)

  with jax.enable_x64(True):
    batch = [jnp.asarray(x) for x in problem(ROWS, DIM)]
    expected = jax.jit(lambda *batch: run(batch, {}))(*batch)
  return run, batch, expected


def assert_same(actual, expected):
  chex.assert_trees_all_close(actual, expected, rtol=1e-10, atol=1e-12)


def largest_array(jaxpr):
  """Returns the size of the largest array of a jaxpr and those inside."""
  sizes = [
    np.prod(var.aval.shape, dtype=int)
    for equation in jaxpr.eqns
    for var in equation.outvars
  ]
  inside = [
    getattr(leaf, "jaxpr", leaf)
    for equation in jaxpr.eqns
    for leaf in jax.tree.leaves(
      equation.params, is_leaf=lambda x: hasattr(x, "eqns")
    )
    if hasattr(leaf, "eqns")
  ]
  return max(sizes + [largest_array(each) for each in inside])


def test_pieces_give_the_same(x64, whole):
  run, batch, expected = whole
  # 12 rows are two pieces of 5 and one of 2.
  pieces = jax.jit(lambda *batch: run(batch, {"rows": 5}))
  assert_same(pieces(*batch), expected)


def test_pieces_keep_no_large_array():
  rows, dim = 64, 4
  z, mu, logvar = (x.astype(np.float32) for x in problem(rows, dim))

  def run(pieces):
    def value(*batch):
      densities = estimators.log_densities(*batch, size=100, rows=pieces)
      return estimators.decompose(densities).tc

    return jax.make_jaxpr(jax.grad(value, argnums=(0, 1, 2)))(z, mu, logvar)

  assert largest_array(run(None).jaxpr) >= rows * rows * dim
  # 8 rows at a time; one more column for the sum over coordinates.
  assert largest_array(run(8).jaxpr) <= 8 * rows * (dim + 1)


@pytest.fixture(scope="module")
def compiled():
  """All terms of 12 samples by two estimators, compiled once."""

  @jax.jit
  def run(z, mu, logvar):
    return {
      kind: estimators.per_sample(
        estimators.log_densities(
          z, mu, logvar, kind=kind, size=40, groups=GROUPS
        )
      )
      for kind in ("mss", "exact")
    }

  return run


@hypothesis.given(strategies.integers(0, 2**31), strategies.floats(0.01, 10))
@hypothesis.settings(deadline=None, derandomize=True, max_examples=25)
def test_identities(compiled, seed, noise):
  with jax.enable_x64(True):
    z, mu, logvar = problem(ROWS, DIM, seed, noise)
    results = compiled(z, mu, logvar)
    # Rounding of sums of values that grow with 1 / noise^2.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-6)
    for terms in results.values():
      close(terms.mi + terms.tc + terms.dwkl, terms.kl)
      close(terms.tc_group + terms.tc_within.sum(axis=-1), terms.tc)
      np.testing.assert_array_equal(terms.tc_within[:, 1], 0)
    # q(z) of the rows is a density of which each row has its share.
    assert (results["exact"].mi <= np.log(ROWS) + 1e-9).all()
    assert (results["mss"].mi <= np.log(40) + 1e-9).all()

    rng = np.random.default_rng(seed)
    shift = rng.normal(size=DIM)
    for kind, moved in compiled(z + shift, mu + shift, logvar).items():
      close(moved.mi, results[kind].mi)
      close(moved.tc, results[kind].tc)
      close(moved.group_mi, results[kind].group_mi)
    order = rng.permutation(ROWS)
    moved = compiled(z[order], mu[order], logvar[order])["exact"]
    for a, b in zip(moved, results["exact"]):
      close(a, b[order])
    # The stratified estimate depends on who comes next, which turning keeps.
    moved = compiled(*(np.roll(x, 5, axis=0) for x in (z, mu, logvar)))["mss"]
    for a, b in zip(moved, results["mss"]):
      close(a, np.roll(b, 5, axis=0))


def test_half_precision_is_widened():
  z, mu, logvar = (x.astype(jnp.bfloat16) for x in problem(4, DIM))
  got = jax.eval_shape(
    functools.partial(estimators.log_densities, size=9), z, mu, logvar
  )
  assert {x.dtype for x in jax.tree.leaves(got)} == {jnp.dtype("float32")}


def test_what_is_refused():
  z, mu, logvar = problem(4, DIM)

  def run(z=z, mu=mu, logvar=logvar, **options):
    # Nothing is computed.
    call = functools.partial(estimators.log_densities, **options)
    jax.eval_shape(call, z, mu, logvar)

  with pytest.raises(
    ValueError, match="kind: got .* expected one of 'exact', 'batch'"
  ):
    run(kind="mwss")
  with pytest.raises(
    ValueError, match="size: got None, expected the number of windows"
  ):
    run(kind="mss")
  with pytest.raises(ValueError, match="expected at least the 4 rows"):
    run(kind="mss", size=3)
  with pytest.raises(ValueError, match="rows of mu: got 1, .* at least 2"):
    run(z[:1], mu[:1], logvar[:1], size=9)
  for groups in (((0, 2),), ((0, 2), (1, 3)), ((0, 3), (3, 3))):
    with pytest.raises(
      ValueError, match="groups: got .* cover the 3 coordinates once"
    ):
      run(size=9, groups=groups)
  with pytest.raises(ValueError, match="z and mu: got .* a row or more"):
    run(np.ones((5, DIM)), kind="exact")
  with pytest.raises(
    ValueError, match="logvar: got .* expected the shape of mu"
  ):
    run(logvar=logvar[:2], kind="exact")
